"""Values written into SQL text: typed, so that times never compare as strings and decimals never as floats. Times are UTC, as the tables are."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import types


def timestamp(value: datetime.datetime) -> str:
    """`TIMESTAMP '2025-01-01 00:00:00.000000'`: an aware value is converted to UTC, a naive one is taken for it."""
    if value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return f"TIMESTAMP '{value.isoformat(sep=' ', timespec='microseconds')}'"


def date(value: datetime.date) -> str:
    if isinstance(value, datetime.datetime):
        value = value.date()
    return f"DATE '{value.isoformat()}'"


def time(value: datetime.time) -> str:
    return f"TIME '{value.isoformat(timespec='microseconds')}'"


def number(value: Any) -> str:
    """A plain 0.1 is a float to the server; a Decimal keeps its digits."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return str(value)
    digits, exponent = value.as_tuple().digits, int(value.as_tuple().exponent)
    scale = max(-exponent, 0)
    precision = max(len(digits) + max(exponent, 0), scale, 1)
    return f"CAST('{value:f}' AS DECIMAL({precision}, {scale}))"


class DateTime(types.DateTime):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return timestamp


class Timestamp(types.TIMESTAMP):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return timestamp


class Date(types.Date):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return date


class Time(types.Time):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return time


class Numeric(types.Numeric[Any]):
    def literal_processor(self, dialect: Any) -> Callable[[Any], str]:
        return number


COLSPECS: dict[Any, Any] = {
    types.DateTime: DateTime,
    types.TIMESTAMP: Timestamp,
    types.Date: Date,
    types.Time: Time,
    types.Numeric: Numeric,
}

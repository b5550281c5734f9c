"""Superset's engine spec for the backend `datafusion`, by whichever driver: `adbc` of this package or `flightsql` of flightsql-dbapi.

Superset finds it by its entry point. It brings time grains, epoch columns, typed time literals and result types.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import types
from superset.constants import TimeGrain
from superset.db_engine_specs.base import BaseEngineSpec
from superset.sql.parse import SQLGLOT_DIALECTS

from ticklake.dialect import AdbcDialect, literals
from ticklake.dialect.arrow_types import sqlalchemy_type
from ticklake.sqlglot import Ticklake

# Superset writes every statement anew. Under its default dialect it would drop NULLS LAST in silence, so that an entry in
# SQLGLOT_DIALECTS_EXTENSIONS, which wins over this one, is a choice and not a need.
SQLGLOT_DIALECTS.setdefault("datafusion", Ticklake)

_DIALECT = AdbcDialect()


def _bin(interval: str, origin: str = "1970-01-01 00:00:00") -> str:
    return f"DATE_BIN(INTERVAL '{interval}', {{col}}, TIMESTAMP '{origin}')"


def _trunc(unit: str) -> str:
    return f"DATE_TRUNC('{unit}', {{col}})"


class TicklakeEngineSpec(BaseEngineSpec):
    engine = "datafusion"
    engine_name = "Ticklake"
    drivers = {"adbc": "Arrow Flight SQL by ADBC", "flightsql": "Arrow Flight SQL by flightsql-dbapi"}
    default_driver = "adbc"
    sqlalchemy_uri_placeholder = "datafusion+adbc://user:password@host:50051/ticklake/gold"

    supports_file_upload = False
    allows_hidden_cc_in_orderby = True

    _time_grain_expressions = {
        None: "{col}",
        TimeGrain.SECOND: _trunc("second"),
        TimeGrain.FIVE_SECONDS: _bin("5 seconds"),
        TimeGrain.THIRTY_SECONDS: _bin("30 seconds"),
        TimeGrain.MINUTE: _trunc("minute"),
        TimeGrain.FIVE_MINUTES: _bin("5 minutes"),
        TimeGrain.TEN_MINUTES: _bin("10 minutes"),
        TimeGrain.FIFTEEN_MINUTES: _bin("15 minutes"),
        TimeGrain.THIRTY_MINUTES: _bin("30 minutes"),
        TimeGrain.HOUR: _trunc("hour"),
        TimeGrain.SIX_HOURS: _bin("6 hours"),
        TimeGrain.DAY: _trunc("day"),
        TimeGrain.WEEK: _trunc("week"),
        TimeGrain.MONTH: _trunc("month"),
        TimeGrain.QUARTER: _trunc("quarter"),
        TimeGrain.YEAR: _trunc("year"),
        TimeGrain.WEEK_STARTING_SUNDAY: _bin("7 days", "1970-01-04 00:00:00"),
        TimeGrain.WEEK_STARTING_MONDAY: _trunc("week"),
    }

    @classmethod
    def epoch_to_dttm(cls) -> str:
        return "from_unixtime({col})"

    @classmethod
    def epoch_ms_to_dttm(cls) -> str:
        return "to_timestamp_millis({col})"

    @classmethod
    def convert_dttm(cls, target_type: str, dttm: datetime, db_extra: dict[str, Any] | None = None) -> str | None:
        column_type = cls.get_sqla_column_type(target_type)
        if isinstance(column_type, types.Date):
            return literals.date(dttm)
        if isinstance(column_type, types.DateTime):
            return literals.timestamp(dttm)
        return None

    @classmethod
    def get_datatype(cls, type_code: Any) -> str | None:
        """The type's SQL name, whichever the driver puts into a cursor's description: Arrow's types, or SQLAlchemy's."""
        if isinstance(type_code, str) or type_code is None:
            return type_code.upper() if type_code else None
        if isinstance(type_code, type):
            type_code = type_code()
        if not isinstance(type_code, types.TypeEngine):
            type_code = sqlalchemy_type(type_code)
        if isinstance(type_code, types.NullType):
            return None
        return str(type_code.compile(_DIALECT))

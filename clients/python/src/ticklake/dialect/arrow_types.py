"""Arrow's types as SQLAlchemy's."""

from __future__ import annotations

from typing import Any

import pyarrow
import pyarrow.types as arrow
from sqlalchemy import types

_INTEGERS: tuple[tuple[Any, type[types.TypeEngine[Any]]], ...] = (
    (arrow.is_int8, types.SmallInteger),
    (arrow.is_uint8, types.SmallInteger),
    (arrow.is_int16, types.SmallInteger),
    (arrow.is_uint16, types.Integer),
    (arrow.is_int32, types.Integer),
    (arrow.is_uint32, types.BigInteger),
    (arrow.is_int64, types.BigInteger),
)


def sqlalchemy_type(arrow_type: pyarrow.DataType) -> types.TypeEngine[Any]:
    """The type that holds every value of the Arrow type; NullType for what SQLAlchemy has no word for."""
    for is_type, integer in _INTEGERS:
        if is_type(arrow_type):
            return integer()
    if arrow.is_uint64(arrow_type):
        return types.Numeric(20, 0)
    if arrow.is_decimal(arrow_type):
        return types.Numeric(arrow_type.precision, arrow_type.scale)
    if arrow.is_floating(arrow_type):
        return types.Float(24 if arrow_type.bit_width <= 32 else 53)
    if arrow.is_boolean(arrow_type):
        return types.Boolean()
    if arrow.is_timestamp(arrow_type):
        return types.TIMESTAMP(timezone=arrow_type.tz is not None)
    if arrow.is_date(arrow_type):
        return types.Date()
    if arrow.is_time(arrow_type):
        return types.Time()
    if arrow.is_dictionary(arrow_type):
        return sqlalchemy_type(arrow_type.value_type)
    if arrow.is_list(arrow_type) or arrow.is_large_list(arrow_type):
        return types.ARRAY(sqlalchemy_type(arrow_type.value_type))
    return _by_name(arrow_type)


def _by_name(arrow_type: pyarrow.DataType) -> types.TypeEngine[Any]:
    # View types have no test functions in the oldest pyarrow that is supported.
    match str(arrow_type):
        case "string" | "large_string" | "string_view":
            return types.String()
        case "binary" | "large_binary" | "binary_view":
            return types.LargeBinary()
        case _:
            return types.NullType()

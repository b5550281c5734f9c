"""The server's SQL for sqlglot, with which Superset parses every statement and writes it anew before it is run.

PostgreSQL's grammar is nearest to DataFusion's. What differs here would change a query's meaning if PostgreSQL's dialect wrote it.
"""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.tokens import TokenType

# Functions whose formats are chrono's: as PostgreSQL's they would be rewritten into letters that mean nothing here.
_AS_WRITTEN = ("TO_CHAR", "TO_DATE", "TO_TIMESTAMP", "DATE_FORMAT")

# PostgreSQL's dialect rewrites QUALIFY into a subquery, and loses the columns' names on the way.
_PLAIN = (exp.Select, exp.Median)

# What PostgreSQL has no name for.
_TYPES = {
    exp.DataType.Type.TINYINT: "TINYINT",
    exp.DataType.Type.UTINYINT: "TINYINT UNSIGNED",
    exp.DataType.Type.USMALLINT: "SMALLINT UNSIGNED",
    exp.DataType.Type.UINT: "INT UNSIGNED",
    exp.DataType.Type.UBIGINT: "BIGINT UNSIGNED",
}


def _as_written(name: str) -> Any:
    def build(arguments: list[Any]) -> exp.Anonymous:
        return exp.Anonymous(this=name, expressions=arguments)

    return build


class Ticklake(Postgres):
    class Parser(Postgres.Parser):
        FUNCTIONS = {**Postgres.Parser.FUNCTIONS, **{name: _as_written(name) for name in _AS_WRITTEN}}
        # ^ is exclusive or here, and a power in PostgreSQL.
        EXPONENT: dict[Any, Any] = {}
        BITWISE = {**Postgres.Parser.BITWISE, TokenType.CARET: exp.BitwiseXor}

    class Generator(Postgres.Generator):
        SUPPORTS_MEDIAN = True
        TYPE_MAPPING = {**Postgres.Generator.TYPE_MAPPING, **_TYPES}
        TRANSFORMS = {
            **{node: how for node, how in Postgres.Generator.TRANSFORMS.items() if node not in _PLAIN},
            exp.BitwiseXor: lambda self, node: self.binary(node, "^"),
            # PostgreSQL has no TRY_CAST and its dialect writes CAST, which fails where this gives NULL.
            exp.TryCast: lambda self, node: f"TRY_CAST({self.sql(node, 'this')} AS {self.sql(node, 'to')})",
        }

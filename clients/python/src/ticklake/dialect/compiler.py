"""SQL as DataFusion reads it, where that is not what SQLAlchemy writes by default."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS
from sqlalchemy.sql import compiler


class AdbcCompiler(compiler.SQLCompiler):
    def limit_clause(self, select: Any, **kw: Any) -> str:
        """OFFSET stands alone: the default would write LIMIT -1 before it."""
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("ILIKE", binary, **kw)

    def visit_not_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._like("NOT ILIKE", binary, **kw)

    def _like(self, word: str, binary: Any, **kw: Any) -> str:
        text = f"{self.process(binary.left, **kw)} {word} {self.process(binary.right, **kw)}"
        escape = binary.modifiers.get("escape")
        return text if escape is None else f"{text} ESCAPE '{escape}'"

    def visit_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._regexp("~", binary, **kw)

    def visit_not_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return self._regexp("!~", binary, **kw)

    def _regexp(self, operator: str, binary: Any, **kw: Any) -> str:
        if (binary.modifiers or {}).get("flags") == "i":
            operator += "*"
        return f"{self.process(binary.left, **kw)} {operator} {self.process(binary.right, **kw)}"


class AdbcTypeCompiler(compiler.GenericTypeCompiler):
    """Names for CAST."""

    def visit_DATETIME(self, type_: Any, **kw: Any) -> str:
        return self.visit_TIMESTAMP(type_, **kw)

    def visit_TIMESTAMP(self, type_: Any, **kw: Any) -> str:
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"

    def visit_FLOAT(self, type_: Any, **kw: Any) -> str:
        return "REAL" if type_.precision is not None and type_.precision <= 24 else "DOUBLE"

    def visit_BLOB(self, type_: Any, **kw: Any) -> str:
        return "BYTEA"

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:
        return "VARCHAR"

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return "VARCHAR"

    def visit_ARRAY(self, type_: Any, **kw: Any) -> str:
        return f"{self.process(type_.item_type, **kw)}[]"


class AdbcIdentifierPreparer(compiler.IdentifierPreparer):
    # A word too many is quoted for nothing, one too few is an error.
    reserved_words = {*RESERVED_WORDS, "partition", "values", "first", "last", "interval", "row", "rows", "set"}

"""The dialect itself: how SQLAlchemy connects, what the engine can do, and reflection through ADBC's metadata calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import adbc_driver_flightsql.dbapi
from adbc_driver_manager import AdbcStatusCode
from sqlalchemy.engine import URL, default
from sqlalchemy.exc import NoSuchTableError

from ticklake.dialect import compiler, literals
from ticklake.dialect.arrow_types import sqlalchemy_type
from ticklake.dialect.url import target_of

if TYPE_CHECKING:
    import pyarrow

_REMARKS = b"ARROW:FLIGHT:SQL:REMARKS"


class AdbcDialect(default.DefaultDialect):
    name = "datafusion"
    driver = "adbc"
    default_paramstyle = "qmark"
    supports_statement_cache = True

    statement_compiler = compiler.AdbcCompiler
    type_compiler = compiler.AdbcTypeCompiler
    type_compiler_cls = compiler.AdbcTypeCompiler  # as SQLAlchemy 2 calls it
    preparer = compiler.AdbcIdentifierPreparer
    colspecs = literals.COLSPECS

    supports_alter = False
    supports_comments = True
    supports_default_values = False
    supports_empty_insert = False
    supports_native_boolean = True
    supports_native_decimal = True
    supports_sane_multi_rowcount = False
    supports_sane_rowcount = False
    supports_sequences = False
    postfetch_lastrowid = False

    @classmethod
    def dbapi(cls) -> Any:  # type: ignore[override]
        """What SQLAlchemy 1.4 calls `import_dbapi`."""
        return adbc_driver_flightsql.dbapi

    @classmethod
    def import_dbapi(cls) -> Any:
        return adbc_driver_flightsql.dbapi

    def create_connect_args(self, url: URL) -> Any:
        target = target_of(url)
        options = {
            "db_kwargs": target.database_options(),
            "conn_kwargs": target.connection_options(),
            "autocommit": True,
        }
        return [target.uri()], options

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """A log-in that has run out is renewed by connecting again. Lost connections the driver dials again by itself."""
        return getattr(e, "status_code", None) == AdbcStatusCode.UNAUTHENTICATED

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        version = str(_adbc(connection).adbc_get_info().get("vendor_version", ""))
        return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())

    def _get_default_schema_name(self, connection: Any) -> str:
        return str(_adbc(connection).adbc_current_db_schema)

    def get_schema_names(self, connection: Any, **kw: Any) -> list[str]:
        return sorted({schema["db_schema_name"] for schema in _schemas(connection, kw, depth="db_schemas")})

    def get_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        return [name for name, kind in self._tables(connection, schema, kw) if kind != "VIEW"]

    def get_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        return [name for name, kind in self._tables(connection, schema, kw) if kind == "VIEW"]

    def has_table(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        return any(name == table_name for name, _ in self._tables(connection, schema, kw))

    def get_columns(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        return [
            {
                "name": field.name,
                "type": sqlalchemy_type(field.type),
                "nullable": field.nullable,
                "default": None,
                "autoincrement": False,
                "comment": _remarks(field.metadata),
            }
            for field in self._arrow_schema(connection, table_name, schema, kw)
        ]

    def get_table_comment(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        return {"text": _remarks(self._arrow_schema(connection, table_name, schema, kw).metadata)}

    def get_pk_constraint(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> Any:
        """None: a Delta table declares no key, and ADBC asks for none."""
        return {"constrained_columns": [], "name": None}

    def get_foreign_keys(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        return []

    def get_indexes(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        return []

    def get_unique_constraints(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        return []

    def get_check_constraints(self, connection: Any, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        return []

    def get_temp_table_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        return []

    def get_temp_view_names(self, connection: Any, schema: str | None = None, **kw: Any) -> list[str]:
        return []

    def _tables(self, connection: Any, schema: str | None, kw: dict[str, Any]) -> list[tuple[str, str]]:
        """Names with their type, of one schema."""
        wanted = schema or self.default_schema_name
        return sorted(
            (table["table_name"], table["table_type"])
            for found in _schemas(connection, kw, depth="tables", db_schema_filter=wanted)
            if found["db_schema_name"] == wanted  # the filter is a pattern
            for table in found["db_schema_tables"] or []
        )

    def _arrow_schema(self, connection: Any, table_name: str, schema: str | None, kw: dict[str, Any]) -> pyarrow.Schema:
        if not self.has_table(connection, table_name, schema, **kw):
            raise NoSuchTableError(f"{schema}.{table_name}" if schema else table_name)
        wanted = schema or self.default_schema_name
        return _cached(
            kw,
            ("columns", wanted, table_name),
            lambda: _adbc(connection).adbc_get_table_schema(table_name, db_schema_filter=wanted),
        )


def _schemas(connection: Any, kw: dict[str, Any], **filters: Any) -> list[dict[str, Any]]:
    def ask() -> list[dict[str, Any]]:
        catalogs = _adbc(connection).adbc_get_objects(**filters).read_all().to_pylist()
        return [schema for catalog in catalogs for schema in catalog["catalog_db_schemas"] or []]

    return _cached(kw, ("objects", *filters.values()), ask)


_Answer = TypeVar("_Answer")


def _cached(kw: dict[str, Any], key: tuple[Any, ...], ask: Callable[[], _Answer]) -> _Answer:
    """An Inspector hands its cache to every call. `reflection.cache` is not for typed functions: 1.4 fails on their annotations."""
    cache = kw.get("info_cache")
    if cache is None:
        return ask()
    key = ("ticklake", *key)
    if key not in cache:
        cache[key] = ask()
    return cast(_Answer, cache[key])


def _adbc(connection: Any) -> adbc_driver_flightsql.dbapi.Connection:
    pooled = connection.connection
    # 1.4 may initialize a dialect on the driver's connection itself.
    return cast(adbc_driver_flightsql.dbapi.Connection, getattr(pooled, "dbapi_connection", pooled))


def _remarks(metadata: dict[bytes, bytes] | None) -> str | None:
    text = (metadata or {}).get(_REMARKS)
    return None if text is None else text.decode()

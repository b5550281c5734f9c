"""The tables without a server: each is a plain Delta table under the lake's root, opened by name with the reader of your choice.

Reads only. What a reader sees is the newest committed version unless it is given one.
"""

from __future__ import annotations

import importlib
import pathlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import deltalake
    import duckdb
    import polars

_NAME = re.compile(r"(bronze|silver|gold)\.[a-z][a-z0-9_]*")
# What an S3 secret of DuckDB calls the options that deltalake and polars share.
_DUCKDB_S3 = {
    "aws_access_key_id": "KEY_ID",
    "aws_secret_access_key": "SECRET",
    "aws_session_token": "SESSION_TOKEN",
    "aws_region": "REGION",
}


class Lake:
    """The folder that `ticklake --lake` names: a path, or `s3://bucket/prefix` with the usual `aws_*` storage options."""

    def __init__(self, root: str | pathlib.Path, storage_options: Mapping[str, str] | None = None) -> None:
        self.root = str(root).rstrip("/")
        self.storage_options = {key.lower(): value for key, value in (storage_options or {}).items()}

    def path(self, table: str) -> str:
        """Where `gold.ohlcv_1m` lies."""
        if not _NAME.fullmatch(table):
            raise ValueError(f"no table name: {table!r}; use bronze.trades, silver.trades, gold.ohlcv_1m and so on")
        return f"{self.root}/{table.replace('.', '/')}"

    def delta(self, table: str, *, version: int | None = None) -> deltalake.DeltaTable:
        import deltalake

        return deltalake.DeltaTable(self.path(table), version=version, storage_options=self.storage_options or None)

    def polars(self, table: str, *, version: int | None = None) -> polars.LazyFrame:
        import polars

        return polars.scan_delta(self.path(table), version=version, storage_options=self.storage_options or None)

    def duckdb(self, table: str, *, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """A relation over DuckDB's own Delta reader, in `connection` or the default one."""
        if connection is None:
            import duckdb

            connection = duckdb.default_connection()
        load_extension(connection, "delta")
        if self.root.startswith("s3://"):
            load_extension(connection, "httpfs")
            create_secret(connection, self.root, self.storage_options)
        return connection.table_function("delta_scan", [self.path(table)])


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """From the package `duckdb-extension-NAME` where it is installed, else DuckDB's own way, which may download it."""
    import duckdb

    try:
        package = importlib.import_module(f"duckdb_extension_{name}")
    except ModuleNotFoundError:
        connection.install_extension(name)
        connection.load_extension(name)
        return
    folder = pathlib.Path(str(package.__file__)).parent
    file = folder / f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"
    if not file.exists():
        raise RuntimeError(f"duckdb-extension-{name} is not for DuckDB {duckdb.__version__}; install the version of the same number")
    connection.load_extension(str(file))


def create_secret(connection: duckdb.DuckDBPyConnection, root: str, storage_options: Mapping[str, str]) -> None:
    """Credentials for this prefix only. Without options DuckDB's own chain finds them."""
    settings = {_DUCKDB_S3[key]: value for key, value in storage_options.items() if key in _DUCKDB_S3}
    if endpoint := storage_options.get("aws_endpoint") or storage_options.get("aws_endpoint_url"):
        scheme, _, host = endpoint.rpartition("://")
        settings |= {"ENDPOINT": host, "URL_STYLE": "path", "USE_SSL": "false" if scheme == "http" else "true"}
    provider = "config" if "KEY_ID" in settings else "credential_chain"
    options = {"PROVIDER": provider, "SCOPE": root, **settings}
    listed = ", ".join(f"{name} {_literal(value)}" for name, value in options.items())
    connection.execute(f"CREATE OR REPLACE TEMPORARY SECRET {_identifier(root)} (TYPE s3, {listed})")


def _literal(text: str) -> str:
    """CREATE SECRET takes no parameters, so its values are quoted here."""
    return "'" + text.replace("'", "''") + "'"


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'

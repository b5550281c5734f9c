"""Queries over Arrow Flight SQL: `connect()`, a query, and its rows as Arrow, polars or pandas.

Reads only. Prices and volumes stay exact decimals and times stay UTC unless the caller asks for something else.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import adbc_driver_flightsql.dbapi
import pyarrow

from ticklake.target import Target, parse_address

if TYPE_CHECKING:
    import pandas
    import polars


def connect(
    address: str = "127.0.0.1:50051",
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    tls: bool | None = None,
    tls_root_certs: str | None = None,
    tls_skip_verify: bool = False,
    tls_override_hostname: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
    timeout: float | None = None,
    types: Literal["strict", "arrow", "grafana"] | None = None,
    timestamp: Literal["us", "ns", "naive"] | None = None,
    schema: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Connection:
    """Connects to a server at `host:port`; TLS is on unless the host is this machine, `grpc://` and `grpc+tls://` say it outright.

    `timeout` in seconds bounds each call. `types` and `timestamp` choose the form of the answer (see the server's README).
    """
    host, port, told = parse_address(address)
    if tls is not None and told is not None and tls != told:
        raise ValueError(f"tls={tls} contradicts {address!r}")
    target = Target(
        host,
        port,
        user=user,
        password=password,
        token=token,
        tls=told if tls is None else tls,
        tls_root_certs=tls_root_certs,
        tls_skip_verify=tls_skip_verify,
        tls_override_hostname=tls_override_hostname,
        client_certificate=client_certificate,
        client_key=client_key,
        timeout=timeout,
        types=types,
        timestamp=timestamp,
        schema=schema,
        headers=headers or {},
    )
    return Connection(open_adbc(target))


def open_adbc(target: Target) -> adbc_driver_flightsql.dbapi.Connection:
    """The ADBC connection of a target. There are no transactions, so autocommit is on."""
    return adbc_driver_flightsql.dbapi.connect(
        target.uri(), db_kwargs=target.database_options(), conn_kwargs=target.connection_options(), autocommit=True
    )


class Connection:
    """An open connection. Not for two threads at once; open one each. `adbc` is the DB-API connection beneath."""

    def __init__(self, adbc: adbc_driver_flightsql.dbapi.Connection) -> None:
        self.adbc = adbc

    def query(self, sql: str, parameters: Sequence[Any] | None = None) -> Result:
        """Runs one statement, `?` or `$1` bound from `parameters`, and reads the whole answer."""
        with self.adbc.cursor() as cursor:
            cursor.execute(sql, parameters)
            return Result(cursor.fetch_arrow_table())

    def batches(self, sql: str, parameters: Sequence[Any] | None = None) -> Iterator[pyarrow.RecordBatch]:
        """The answer batch by batch, for results larger than memory."""
        with self.adbc.cursor() as cursor:
            cursor.execute(sql, parameters)
            yield from cursor.fetch_record_batch()

    def tables(self) -> list[str]:
        """Names as queries use them, `gold.ohlcv_1m` and so on."""
        catalogs = self.adbc.adbc_get_objects(depth="tables").read_all().to_pylist()
        return sorted(
            f"{schema['db_schema_name']}.{table['table_name']}"
            for catalog in catalogs
            for schema in catalog["catalog_db_schemas"] or []
            for table in schema["db_schema_tables"] or []
        )

    def schema(self, table: str) -> pyarrow.Schema:
        """Columns of `schema.table`; comments stand in the metadata of each field."""
        schema, _, name = table.rpartition(".")
        return self.adbc.adbc_get_table_schema(name, db_schema_filter=schema or None)

    def close(self) -> None:
        self.adbc.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self.close()


class Result:
    """The rows of one query, read whole."""

    def __init__(self, table: pyarrow.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def to_arrow(self) -> pyarrow.Table:
        return self._table

    def to_polars(self) -> polars.DataFrame:
        import polars

        frame = polars.from_arrow(self._table)
        assert isinstance(frame, polars.DataFrame)  # a table never becomes a Series
        return frame

    def to_pandas(self, *, decimals: Literal["exact", "float"] = "exact") -> pandas.DataFrame:
        """Columns keep their Arrow types, so decimals are exact; `decimals="float"` trades that for plain NumPy floats."""
        import pandas

        if decimals == "float":
            return as_floats(self._table).to_pandas()
        return self._table.to_pandas(types_mapper=pandas.ArrowDtype)


def as_floats(table: pyarrow.Table) -> pyarrow.Table:
    """Each decimal as the float nearest to it. Arrow's own cast is off in the last digit, parsing the text is not."""
    for index, field in enumerate(table.schema):
        if pyarrow.types.is_decimal(field.type):
            nearest = table.column(index).cast(pyarrow.string()).cast(pyarrow.float64())
            table = table.set_column(index, field.with_type(pyarrow.float64()), nearest)
    return table

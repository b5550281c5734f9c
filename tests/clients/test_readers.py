"""Every reader gets the same rows: over Flight SQL from the server, and from the lake's folder without it."""

import csv
import io
import json
import pathlib
from datetime import datetime, timezone
from decimal import Decimal

import deltalake
import duckdb
import duckdb_extension_delta
import polars
import pyarrow
import pytest

from processes import run

TABLES = ["gold.ohlcv_1m", "gold.ohlcv_5m", "silver.trades", "bronze.trades"]
ORDER = {"gold": ["symbol", "venue", "window_start"], "silver": ["symbol", "venue", "kind", "trade_id"], "bronze": ["topic", "partition", "offset"]}


def rows(table, name):
    """Rows in key order, values as Python's own: Decimal, datetime in UTC, str, bytes."""
    order = [(column, "ascending") for column in ORDER[name.split(".")[0]]]
    columns = sorted(table.column_names)
    return columns, [tuple(plain(row[c]) for c in columns) for row in table.sort_by(order).to_pylist()]


def plain(value):
    return value.astimezone(timezone.utc) if isinstance(value, datetime) else value


@pytest.fixture(scope="module", params=TABLES)
def expected(request, lake):
    """The rows as the ADBC driver brings them."""
    table = lake.sql(f"SELECT * FROM {request.param}")
    assert table.num_rows > 0
    return request.param, *rows(table, request.param)


def test_ticklake_query_as_arrow(lake, expected):
    name, columns, want = expected
    stream = run("query", "--server", lake.address, "--format", "arrow", f"SELECT * FROM {name}")
    table = pyarrow.ipc.open_stream(stream).read_all()
    assert rows(table, name) == (columns, want)


def test_polars_over_adbc(lake, expected):
    name, columns, want = expected
    frame = polars.read_database(f"SELECT * FROM {name}", lake.connection)
    assert rows(frame.to_arrow(), name) == (columns, want)


def test_deltalake(lake, expected):
    name, columns, want = expected
    table = deltalake.DeltaTable(lake.table_path(name)).to_pyarrow_table()
    assert rows(table, name) == (columns, want)


def test_duckdb(lake, expected):
    name, columns, want = expected
    connection = duckdb.connect()
    folder = pathlib.Path(duckdb_extension_delta.__file__).parent
    connection.load_extension(str(next(folder.glob(f"extensions/v{duckdb.__version__}/delta.duckdb_extension"))))
    table = connection.execute("SELECT * FROM delta_scan(?)", [lake.table_path(name)]).to_arrow_table()
    assert rows(table, name) == (columns, want)


def test_polars_scan_delta(lake, expected):
    name, columns, want = expected
    table = polars.scan_delta(lake.table_path(name)).collect().to_arrow()
    assert rows(table, name) == (columns, want)


BARS = "SELECT symbol, window_start, open, volume, trade_count, is_closed FROM gold.ohlcv_1m ORDER BY venue, symbol, window_start"


def test_ticklake_query_as_csv(lake):
    text = run("query", "--server", lake.address, "--format", "csv", BARS).decode()
    got = list(csv.DictReader(io.StringIO(text)))
    check_text(got, lake.sql(BARS).to_pylist())


def test_ticklake_query_as_json(lake):
    lines = run("query", "--server", lake.address, "--format", "json", BARS).splitlines()
    check_text([json.loads(line, parse_float=Decimal) for line in lines], lake.sql(BARS).to_pylist())


def check_text(got, want):
    assert len(got) == len(want) > 0
    for text, row in zip(got, want, strict=True):
        assert text["symbol"] == row["symbol"]
        assert datetime.fromisoformat(text["window_start"].replace("Z", "+00:00")) == row["window_start"]
        assert Decimal(text["open"]) == row["open"] and Decimal(text["volume"]) == row["volume"]
        assert int(text["trade_count"]) == row["trade_count"]
        assert str(text["is_closed"]).lower() == str(row["is_closed"]).lower()

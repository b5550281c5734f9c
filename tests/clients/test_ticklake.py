"""The package `ticklake` against the server and the lake's folder: rows, types, names, comments."""

import os
import uuid

import deltalake
import duckdb
import polars
import pyarrow
import pytest

import ticklake

BARS = "SELECT * FROM gold.ohlcv_1m ORDER BY venue, symbol, window_start"


@pytest.fixture
def server(market):
    with ticklake.connect(market.address) as server:
        yield server


def test_rows_are_the_same_in_every_form(server, market):
    want = market.sql(BARS).to_pylist()
    assert len(want) == 12
    result = server.query(BARS)
    assert result.to_arrow().to_pylist() == want
    assert result.to_polars().to_dicts() == want
    frame = result.to_pandas()
    assert frame["open"].tolist() == [row["open"] for row in want]
    assert frame["window_start"].dt.tz_convert("UTC").tolist() == [row["window_start"] for row in want]
    floats = result.to_pandas(decimals="float")
    assert floats["open"].tolist() == [float(row["open"]) for row in want]


def test_parameters(server):
    for placeholder in ("?", "$1"):
        assert len(server.query(f"SELECT * FROM gold.ohlcv_1m WHERE symbol = {placeholder}", ["SOL-USDT"])) == 4


def test_batches_are_streamed(server):
    batches = server.batches("SELECT * FROM silver.trades")
    assert sum(batch.num_rows for batch in batches) == 11_032


def test_names_and_comments(server):
    assert {"bronze.trades", "silver.trades", "gold.ohlcv_1m", "gold.ohlcv_5m"} <= set(server.tables())
    field = server.schema("gold.ohlcv_1m").field("open")
    assert field.type == pyarrow.decimal128(28, 12)
    assert field.metadata[b"ARROW:FLIGHT:SQL:REMARKS"].startswith(b"price of the first trade")


def test_the_profile_is_chosen(market):
    with ticklake.connect(market.address, types="grafana", timestamp="naive") as server:
        schema = server.query("SELECT open, window_start FROM gold.ohlcv_1m LIMIT 0").to_arrow().schema
    assert schema.types == [pyarrow.float64(), pyarrow.timestamp("us")]


def test_an_answer_that_takes_too_long_is_an_error(market):
    with ticklake.connect(market.address, timeout=0.5) as server, pytest.raises(Exception, match=r"(?i)deadline|timeout"):
        server.query("SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b")


@pytest.mark.parametrize("name", ["gold.ohlcv_1m", "silver.trades", "bronze.trades"])
def test_the_folder_holds_what_the_server_answers(server, market, name):
    lake = ticklake.Lake(market.folder)
    want = server.query(f"SELECT count(*) AS n, min(symbol) AS a, max(symbol) AS z FROM {name}").to_arrow().to_pylist()
    aggregates = [polars.len().alias("n").cast(polars.Int64), polars.col("symbol").min().alias("a"), polars.col("symbol").max().alias("z")]
    assert lake.polars(name).select(aggregates).collect().to_dicts() == want
    relation = lake.duckdb(name, connection=duckdb.connect()).aggregate("count(*) AS n, min(symbol) AS a, max(symbol) AS z")
    assert relation.to_arrow_table().to_pylist() == want
    table = lake.delta(name).to_pyarrow_table(columns=["symbol"])["symbol"].to_pylist()
    assert [{"n": len(table), "a": min(table), "z": max(table)}] == want


def test_a_lake_in_a_bucket():
    options = {
        "aws_endpoint": os.environ["TICKLAKE_TEST_S3_ENDPOINT"],
        "aws_access_key_id": "ticklake",
        "aws_secret_access_key": "ticklake-secret",
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    root = f"s3://ticklake/{uuid.uuid4()}"
    deltalake.write_deltalake(f"{root}/gold/ohlcv_1m", pyarrow.table({"symbol": ["A", "B"], "n": [1, 2]}), storage_options=options)
    lake = ticklake.Lake(root, options)
    assert lake.delta("gold.ohlcv_1m").to_pyarrow_table().num_rows == 2
    assert lake.polars("gold.ohlcv_1m").collect()["n"].sum() == 3
    assert lake.duckdb("gold.ohlcv_1m", connection=duckdb.connect()).aggregate("sum(n)").fetchall() == [(3,)]

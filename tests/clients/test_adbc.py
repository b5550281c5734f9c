"""adbc-driver-flightsql beyond plain queries: metadata, many parameters, partitions, cancelling."""

import datetime
import threading
import time
from decimal import Decimal

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import duckdb
import pandas
import polars
import pyarrow
import pytest

ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"


def test_metadata(market):
    connection = market.connection
    assert set(connection.adbc_get_table_types()) >= {"TABLE", "VIEW"}
    info = connection.adbc_get_info()
    assert info["vendor_name"].lower().startswith("ticklake")
    objects = connection.adbc_get_objects(depth="all", db_schema_filter="gold", table_name_filter="ohlcv_1m").read_all().to_pylist()
    (table,) = [t for c in objects for s in c["catalog_db_schemas"] for t in s["db_schema_tables"] if t["table_name"] == "ohlcv_1m"]
    opened = {column["column_name"]: column for column in table["table_columns"]}["open"]
    assert opened["xdbc_type_name"] == "DECIMAL"
    field = connection.adbc_get_table_schema("ohlcv_1m", db_schema_filter="gold").field("open")
    assert field.type == pyarrow.decimal128(28, 12)
    assert field.metadata[b"ARROW:FLIGHT:SQL:REMARKS"].startswith(b"price of the first trade")
    assert (connection.adbc_current_catalog, connection.adbc_current_db_schema) == ("ticklake", "gold")


@pytest.mark.parametrize(
    "value",
    [
        "text",
        b"bytes",
        True,
        7,
        1.5,
        Decimal("1.500000000001"),
        datetime.date(2025, 1, 2),
        datetime.datetime(2025, 1, 2, 3, 4, 5, 6),
        datetime.datetime(2025, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
        datetime.time(3, 4, 5, 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameters_come_back_as_they_went(market, value):
    with market.connection.cursor() as cursor:
        cursor.execute("SELECT ? AS value", [value])
        (got,) = cursor.fetchone()
    assert got == value


def test_a_null_parameter(market):
    assert market.sql("SELECT count(*) FROM gold.ohlcv_1m WHERE ? IS NULL", [None])[0][0].as_py() == 12


def test_more_parameters_than_nine_keep_their_places(market):
    numbers = list(range(12))
    assert market.sql("SELECT " + ", ".join(f"${i + 1} AS c{i}" for i in numbers), numbers).to_pylist()[0] == {f"c{i}": i for i in numbers}


def test_several_rows_run_in_order(market):
    batch = pyarrow.record_batch({"0": ["SOL-USDT", "BTC-USDT", "none"]})
    with market.connection.cursor() as cursor:
        cursor.adbc_statement.set_sql_query("SELECT symbol, count(*) FROM gold.ohlcv_1m WHERE symbol = ? GROUP BY symbol")
        cursor.adbc_statement.prepare()
        cursor.adbc_statement.bind_stream(pyarrow.RecordBatchReader.from_batches(batch.schema, [batch]))
        stream, _ = cursor.adbc_statement.execute_query()
        rows = pyarrow.RecordBatchReader._import_from_c(stream.address).read_all()
    assert [tuple(row.values()) for row in rows.to_pylist()] == [("SOL-USDT", 4), ("BTC-USDT", 4)]


def test_partitions_outlive_their_statement(market):
    with market.connection.cursor() as cursor:
        partitions, schema = cursor.adbc_execute_partitions("SELECT symbol FROM gold.ohlcv_1m")
    assert schema.names == ["symbol"]
    rows = 0
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{market.address}", autocommit=True) as other:
        for partition in partitions:
            with other.cursor() as cursor:
                cursor.adbc_read_partition(partition)
                rows += cursor.fetch_arrow_table().num_rows
    assert rows == 12


def test_the_schema_without_the_rows(market):
    with market.connection.cursor() as cursor:
        assert cursor.adbc_execute_schema("SELECT symbol, open FROM gold.ohlcv_1m").names == ["symbol", "open"]


def test_cancel_ends_the_query(market):
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{market.address}", autocommit=True) as connection, connection.cursor() as cursor:
        timer = threading.Timer(1.0, cursor.adbc_cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(adbc_driver_manager.Error):
            cursor.execute(ENDLESS).fetchall()
        timer.join()
        assert time.monotonic() - began < 10
    assert market.one("SELECT 1") == 1


def test_ingest_is_refused(market):
    with market.connection.cursor() as cursor, pytest.raises(adbc_driver_manager.Error):
        cursor.adbc_ingest("t", pyarrow.table({"a": [1]}), mode="create")


BARS = "SELECT symbol, window_start, open, trade_count FROM gold.ohlcv_1m ORDER BY symbol, window_start"


def test_pandas_reads_gold(market):
    frame = pandas.read_sql(BARS, market.connection)
    assert len(frame) == 12
    assert frame["open"].map(type).eq(Decimal).all() or str(frame["open"].dtype).startswith(("float", "decimal", "double"))
    assert frame["trade_count"].sum() == 11_032


def test_polars_reads_gold(market):
    frame = polars.read_database(BARS, market.connection)
    assert frame.schema["open"] == polars.Decimal(28, 12)
    assert frame["trade_count"].sum() == 11_032


def test_duckdb_reads_gold(market):
    with market.connection.cursor() as cursor:
        cursor.execute(BARS)
        bars = cursor.fetch_record_batch()  # noqa: F841 - DuckDB finds it by its name
        assert duckdb.connect().execute("SELECT sum(trade_count), max(open) > 80000 FROM bars").fetchone() == (11_032, True)

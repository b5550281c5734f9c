"""Spark reads gold over JDBC: types, a pushed filter, and a read in parts."""

import decimal
import os
import pathlib

import pytest
import readme
from pyspark.sql import SparkSession

JARS = pathlib.Path(os.environ["TICKLAKE_TEST_JDBC"])
VERSION = "18.2.0"


@pytest.fixture(scope="module")
def spark():
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.jars", str(JARS / f"flight-sql-jdbc-driver-{VERSION}.jar"))
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "512m")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield spark
    spark.stop()


@pytest.fixture
def bars(spark, market):
    return (
        spark.read.format("jdbc")
        .option("url", f"jdbc:arrow-flight-sql://{market.address}/?useEncryption=false")
        .option("driver", "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver")
        .option("dbtable", "gold.ohlcv_1m")
    )


def test_rows(bars, market):
    names = ["symbol", "open", "quote_volume", "trade_count", "is_closed", "date"]
    want = market.sql(f"SELECT {', '.join(names)} FROM gold.ohlcv_1m").to_pylist()
    got = [tuple(row) for row in bars.load().select(names).collect()]
    assert sorted(got) == sorted(tuple(row.values()) for row in want)
    assert isinstance(got[0][1], decimal.Decimal)


def test_times_and_filters(bars, market):
    rows = (
        bars.load()
        .where("symbol = 'BTC-USDT' AND window_start >= TIMESTAMP '2025-03-25 23:09:00'")
        .selectExpr("unix_micros(window_start) AS t")
        .collect()
    )
    assert sorted(row.t for row in rows) == [1_742_944_140_000_000, 1_742_944_200_000_000]


def test_read_in_parts(bars):
    parts = bars.option("partitionColumn", "trade_count").option("lowerBound", 0).option("upperBound", 3000).option("numPartitions", 3).load()
    assert parts.count() == 12
    assert parts.selectExpr("sum(trade_count) AS n").collect()[0].n == 11_032


def test_the_readme_s_block(spark, market, guarded):
    setting, *reads = [line for line in readme.filled(readme.block("Spark"), market, guarded).splitlines() if line]
    names = {"spark": spark}
    exec(setting, names)
    assert len(reads) == 3
    for read in reads:
        assert eval(read, names).count() == 12, read

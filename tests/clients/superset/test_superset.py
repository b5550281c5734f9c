"""A real Superset 6.1: database, dataset, SQL Lab and a chart with a time filter, by flightsql-dbapi alone; and with the package `ticklake` the
same by both drivers, with time grains. Run by `.ci/run superset`.
"""

import contextlib

import pytest
import readme
import slow

RANGE = "2025-03-25T23:08:00 : 2025-03-25T23:10:00"
# 2025-03-25T23:07:00Z in milliseconds, as charts get it.
FIRST_WINDOW = 1_742_944_020_000
MINUTE = 60_000
# As the README has them.
DRIVERS = {
    "adbc": readme.lines("SQLAlchemy", "datafusion+adbc:")[0][0],
    "flightsql": readme.lines("flightsql-dbapi", "datafusion+flightsql:")[0][0],
}
# Where the bins of that range begin, in minutes from the first window.
GRAINS = {
    "PT1S": [1, 2],
    "PT1M": [1, 2],
    "PT5M": [-2],
    "PT15M": [-7],
    "PT30M": [-7],
    "PT1H": [-7],
    "P1D": [-(23 * 60 + 7)],
}


@contextlib.contextmanager
def made(superset, market, driver):
    """A database and a dataset, which goes again: on SQLite Superset takes a table's name only once."""
    database = superset.create_database(DRIVERS[driver].replace(readme.LOCAL, market.address))
    dataset = superset.create_dataset(database, "ohlcv_1m")
    yield database, dataset
    superset.delete(f"dataset/{dataset}")


def check_schemas_and_tables(superset, database):
    assert {"bronze", "silver", "gold"} <= set(superset.get(f"database/{database}/schemas/")["result"])
    tables = superset.get(f"database/{database}/tables/?q=(force:!t,schema_name:gold)")["result"]
    assert {"ohlcv_1m", "ohlcv_5m"} <= {table["value"] for table in tables}


def check_sql_lab(superset, database):
    answer = superset.sql_lab(
        database,
        "SELECT symbol, window_start, open, trade_count, vwap FROM gold.ohlcv_1m WHERE window_start >= TIMESTAMP '2025-03-25 23:10:00' "
        "ORDER BY vwap DESC NULLS LAST",
    )
    assert [row["symbol"] for row in answer["data"]] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    columns = {column["column_name"]: column for column in answer["columns"]}
    assert columns["window_start"]["is_dttm"]
    assert "2025-03-25T23:10:00" in str(answer["data"][0]["window_start"])
    return columns


def check_time_filter(superset, dataset, market):
    query = {
        "columns": ["symbol"],
        "metrics": [metric("trade_count", "SUM"), metric("high", "MAX")],
        "filters": [{"col": "window_start", "op": "TEMPORAL_RANGE", "val": RANGE}],
        "orderby": [["symbol", True]],
        "row_limit": 100,
        "granularity": "window_start",
    }
    rows = superset.chart_data(dataset, query)["data"]
    want = market.sql(
        "SELECT symbol, sum(trade_count) AS n, max(high) AS h FROM gold.ohlcv_1m "
        "WHERE window_start >= '2025-03-25T23:08:00Z' AND window_start < '2025-03-25T23:10:00Z' GROUP BY symbol ORDER BY symbol"
    ).to_pylist()
    assert [(row["symbol"], row["SUM(trade_count)"], float(row["MAX(high)"])) for row in rows] == [(w["symbol"], w["n"], float(w["h"])) for w in want]


def metric(column, aggregate):
    return {"expressionType": "SIMPLE", "column": {"column_name": column}, "aggregate": aggregate, "label": f"{aggregate}({column})"}


def test_flightsql_dbapi_alone(plain, market):
    with made(plain, market, "flightsql") as (database, dataset):
        check_schemas_and_tables(plain, database)
        check_sql_lab(plain, database)
        check_time_filter(plain, dataset, market)


@pytest.mark.parametrize("driver", DRIVERS)
def test_with_the_package(packaged, market, driver):
    with made(packaged, market, driver) as (database, dataset):
        check_schemas_and_tables(packaged, database)
        columns = check_sql_lab(packaged, database)
        assert columns["open"]["type_generic"] == 0, "a number"
        assert columns["window_start"]["type_generic"] == 2, "a time"
        check_time_filter(packaged, dataset, market)
        check_grains(packaged, dataset)
        check_comments(packaged, dataset, driver)


def check_grains(superset, dataset):
    grains = dict(superset.get(f"dataset/{dataset}")["result"]["time_grain_sqla"])
    assert {"PT1M", "PT5M", "PT15M", "PT1H", "P1D", "P1W", "P1M"} <= set(grains)
    for grain, windows in GRAINS.items():
        check_grain(superset, dataset, grain, windows)


def check_comments(superset, dataset, driver):
    """flightsql-dbapi reads none."""
    columns = superset.get(f"dataset/{dataset}")["result"]["columns"]
    comments = {column["column_name"]: column["description"] for column in columns}
    assert (comments["open"] or "").startswith("price of the first trade") == (driver == "adbc")


def check_grain(superset, dataset, grain, windows):
    axis = {"timeGrain": grain, "columnType": "BASE_AXIS", "sqlExpression": "window_start", "label": "window_start", "expressionType": "SQL"}
    query = {
        "columns": [axis],
        "metrics": [metric("trade_count", "SUM")],
        "filters": [{"col": "window_start", "op": "TEMPORAL_RANGE", "val": RANGE}],
        "extras": {"time_grain_sqla": grain},
        "row_limit": 100,
    }
    rows = superset.chart_data(dataset, query)["data"]
    assert sorted(row["window_start"] for row in rows) == [FIRST_WINDOW + minutes * MINUTE for minutes in windows], grain
    assert sum(row["SUM(trade_count)"] for row in rows) > 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_empty_batches_of_a_slow_query_are_read_over(packaged, slow_server, driver):
    database = packaged.create_database(DRIVERS[driver].replace(readme.LOCAL, slow_server.address))
    with slow_server.sends_idle_batches():
        rows = packaged.sql_lab(database, slow.SQL)["data"]
    assert sorted((row["name"], row["n"]) for row in rows) == slow.ROWS


@pytest.mark.parametrize("driver", DRIVERS)
def test_sql_means_the_same_after_superset_has_rewritten_it(packaged, market, driver):
    """Under sqlglot's default dialect these would fail, or answer something else."""
    database = packaged.create_database(DRIVERS[driver].replace(readme.LOCAL, market.address))
    for sql, want in {
        "SELECT DISTINCT to_char(window_start, '%Y-%m') AS a FROM gold.ohlcv_1m": "2025-03",
        "SELECT try_cast('x' AS INT) IS NULL AS a": True,
        "SELECT 'BTC' ~ '^B' AS a": True,
        "SELECT string_agg(symbol, ',' ORDER BY symbol) AS a FROM (SELECT DISTINCT symbol FROM gold.ohlcv_1m) AS s": "BTC-USDT,ETH-USDT,SOL-USDT",
        "SELECT symbol AS a FROM gold.ohlcv_1m QUALIFY row_number() OVER (ORDER BY open DESC) = 1": "BTC-USDT",
        "SELECT 6 ^ 3 AS a": 5,
    }.items():
        assert packaged.sql_lab(database, sql)["data"] == [{"a": want}], sql

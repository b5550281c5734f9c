"""A query that computes for long is answered with empty batches meanwhile: every client reads over them to the right rows.

flightsql-dbapi and our dialect have their tests beside the others of theirs, Superset among its own.
"""

import adbc_driver_flightsql.dbapi
import duckdb
import pandas
import polars
import pytest
import slow
from test_go import go
from test_jdbc import DRIVERS, ask, compiled, sqlline, url  # noqa: F401 - the fixture compiles the Java program
from test_spark import spark  # noqa: F401 - a fixture

import ticklake
from processes import run


@pytest.fixture
def connection(slow_server):
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{slow_server.address}", autocommit=True) as connection:
        with slow_server.sends_idle_batches():
            yield connection


def test_adbc(connection):
    with connection.cursor() as cursor:
        assert sorted(cursor.execute(slow.SQL).fetchall()) == slow.ROWS


def test_adbc_with_parameters(connection):
    with connection.cursor() as cursor:
        cursor.execute(slow.SQL.replace("= 3", "= ?"), [3, 3])
        assert sorted(cursor.fetchall()) == slow.ROWS


def test_pandas(connection):
    frame = pandas.read_sql(slow.SQL, connection)
    assert sorted(frame.itertuples(index=False, name=None)) == slow.ROWS


def test_polars(connection):
    assert sorted(polars.read_database(slow.SQL, connection).rows()) == slow.ROWS


def test_duckdb(connection):
    with connection.cursor() as cursor:
        cursor.execute(slow.SQL)
        rows = cursor.fetch_record_batch()  # noqa: F841 - DuckDB finds it by its name
        assert duckdb.connect().execute("SELECT * FROM rows ORDER BY name").fetchall() == slow.ROWS


def test_ticklake(slow_server):
    with slow_server.sends_idle_batches(), ticklake.connect(slow_server.address) as server:
        assert sorted(server.query(slow.SQL).to_polars().rows()) == slow.ROWS


def test_ticklake_query(slow_server):
    with slow_server.sends_idle_batches():
        csv = run("query", "--server", slow_server.address, "--format", "csv", slow.SQL).decode()
    assert sorted(csv.splitlines()[1:]) == [f"{name},{n}" for name, n in slow.ROWS]


def test_go_clients(slow_server):
    """database/sql, and both libraries of Grafana's clients."""
    settings = {"TICKLAKE_SERVER": slow_server.address, "TICKLAKE_DSN": f"uri=grpc+tcp://{slow_server.address}"}
    rows = ",".join(f"{name}={n}" for name, n in slow.ROWS)
    with slow_server.sends_idle_batches():
        go("-run=^TestSlow", "./...", TICKLAKE_SLOW_SQL=slow.SQL, TICKLAKE_SLOW_ROWS=rows, **settings)


@pytest.mark.parametrize("version", DRIVERS)
def test_jdbc(slow_server, version):
    for command in ("statement", "query"):
        with slow_server.sends_idle_batches():
            (answer,) = ask(version, url(slow_server, version), f"{command}\t{slow.SQL}")
        assert sorted((name, int(n)) for name, n in answer[1:]) == slow.ROWS


@pytest.mark.parametrize("version", DRIVERS)
def test_sqlline(slow_server, version):
    with slow_server.sends_idle_batches():
        lines = sqlline(url(slow_server, version), version, f"{slow.SQL};")
    assert sorted(line for line in lines if line.startswith(("first,", "last,"))) == [f"{name},{n}" for name, n in slow.ROWS]


def test_spark(slow_server, spark):  # noqa: F811
    options = {"url": url(slow_server, "18.2.0"), "driver": "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver", "query": slow.SQL}
    with slow_server.sends_idle_batches():
        rows = spark.read.format("jdbc").options(**options).load().collect()
    assert sorted(tuple(row) for row in rows) == slow.ROWS

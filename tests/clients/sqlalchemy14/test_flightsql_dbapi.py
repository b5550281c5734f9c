"""flightsql-dbapi 0.2.2 as it is, with the SQLAlchemy 1.4 that it needs: inspect, query, types, time filters."""

import datetime
import os
import subprocess
import sys

import flightsql.sqlalchemy  # noqa: F401 - the dialect registers itself
import pytest
import readme
import slow
import sqlalchemy as sa

UTC = datetime.timezone.utc
FIRST_WINDOW = datetime.datetime(2025, 3, 25, 23, 7, tzinfo=UTC)
PREPARED = "&feature-sqlalchemy-prepared-statements=on"


@pytest.fixture(scope="module", params=["", PREPARED], ids=["literal", "prepared"])
def engine(request, market):
    # The dialect writes values into the text and lets SQLAlchemy keep that text for the next values: no cache.
    engine = sa.create_engine(f"datafusion+flightsql://{market.address}?insecure=True{request.param}", query_cache_size=0)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def bars(engine):
    return sa.Table("ohlcv_1m", sa.MetaData(), schema="gold", autoload_with=engine)


def test_inspect(engine):
    inspector = sa.inspect(engine)
    assert {"bronze", "silver", "gold"} <= set(inspector.get_schema_names())
    assert {"ohlcv_1m", "ohlcv_5m"} <= set(inspector.get_table_names(schema="gold"))
    assert inspector.has_table("trades", schema="silver")
    columns = {column["name"]: type(column["type"]) for column in inspector.get_columns("ohlcv_1m", schema="gold")}
    expected = {
        "symbol": sa.TEXT,
        "window_start": sa.TIMESTAMP,
        "open": sa.DECIMAL,
        "trade_count": sa.BIGINT,
        "is_closed": sa.BOOLEAN,
        "date": sa.DATE,
    }
    assert {name: columns[name] for name in expected} == expected


def test_values(engine, bars, market):
    names = ["symbol", "window_start", "open", "trade_count", "is_closed"]
    want = market.sql(f"SELECT {', '.join(names)} FROM gold.ohlcv_1m").to_pylist()
    with engine.connect() as connection:
        got = connection.execute(sa.select([bars.c[name] for name in names])).fetchall()
    assert sorted(tuple(row) for row in got) == sorted(tuple(row.values()) for row in want)


def test_parameters(engine, bars):
    with engine.connect() as connection:

        def count(*conditions):
            return connection.execute(sa.select([sa.func.count()]).select_from(bars).where(*conditions)).scalar()

        assert count(bars.c.symbol == "BTC-USDT") == 4
        assert count(bars.c.symbol == "BTC-USDT", bars.c.trade_count > 0) == 4
        assert count(bars.c.symbol.in_(["BTC-USDT", "SOL-USDT"])) == 8
        assert count(bars.c.symbol == "it's") == 0
        assert connection.execute(sa.select([bars.c.symbol]).order_by(bars.c.symbol).limit(1).offset(4)).scalar() == "ETH-USDT"


def test_time_filters(engine):
    statement = sa.text(
        "SELECT count(*) FROM gold.ohlcv_1m WHERE window_start >= TIMESTAMP '2025-03-25 23:08:00.000000' AND window_start < '2025-03-25T23:10:00Z'"
    )
    with engine.connect() as connection:
        assert connection.execute(statement).scalar() == 6


def test_an_empty_result(engine, bars):
    with engine.connect() as connection:
        assert connection.execute(sa.select([bars.c.symbol]).where(bars.c.symbol == "none")).fetchall() == []


def test_a_mistake_is_an_error_and_the_next_query_runs(engine):
    with engine.connect() as connection:
        with pytest.raises(Exception, match="no_such_table"):
            connection.execute(sa.text("SELECT * FROM gold.no_such_table"))
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1


@pytest.mark.parametrize("prepared", ["", PREPARED], ids=["literal", "prepared"])
def test_empty_batches_of_a_slow_query_are_read_over(slow_server, prepared):
    engine = sa.create_engine(f"datafusion+flightsql://{slow_server.address}?insecure=True{prepared}", query_cache_size=0)
    with slow_server.sends_idle_batches(), engine.connect() as connection:
        assert sorted(tuple(row) for row in connection.execute(sa.text(slow.SQL))) == slow.ROWS
    engine.dispose()


def test_the_readme_s_urls(market, guarded):
    """In a process of their own: gRPC reads the authority from the environment when it starts."""
    urls = [readme.filled(url, market, guarded) for url, _ in readme.lines("flightsql-dbapi", "datafusion+flightsql:")]
    assert len(urls) == 3
    program = (
        "import sys, flightsql.sqlalchemy, sqlalchemy\n"
        "for url in sys.argv[1:]:\n"
        "    with sqlalchemy.create_engine(url, query_cache_size=0).connect() as connection:\n"
        "        print(connection.execute('SELECT count(*) FROM gold.ohlcv_1m').scalar())\n"
    )
    env = os.environ | {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(guarded.authority)}
    done = subprocess.run([sys.executable, "-c", program, *urls], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["12"] * 3, done.stdout + done.stderr

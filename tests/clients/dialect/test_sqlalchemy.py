"""The dialect `datafusion+adbc` against the server: inspect, query, types, time filters. Runs on SQLAlchemy 1.4 and on 2."""

import datetime
from decimal import Decimal

import pytest
import readme
import slow
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, NoSuchTableError

UTC = datetime.timezone.utc
MINUTE = datetime.timedelta(minutes=1)
FIRST_WINDOW = datetime.datetime(2025, 3, 25, 23, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def engine(market):
    engine = sa.create_engine(f"datafusion+adbc://{market.address}/ticklake/gold")
    yield engine
    engine.dispose()


def test_the_readme_s_urls(market, guarded):
    """On loopback, and with a log-in over TLS by password and by token."""
    urls = readme.lines("SQLAlchemy", "datafusion+adbc:")
    assert len(urls) == 3
    for url, _ in urls:
        engine = sa.create_engine(readme.filled(url, market, guarded))
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM gold.ohlcv_1m")).scalar() == 12, url
        assert "ohlcv_1m" in sa.inspect(engine).get_table_names(schema="gold")
        engine.dispose()


@pytest.fixture
def connection(engine):
    with engine.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def bars(engine):
    return sa.Table("ohlcv_1m", sa.MetaData(), schema="gold", autoload_with=engine)


def test_inspect(engine):
    inspector = sa.inspect(engine)
    assert {"bronze", "silver", "gold"} <= set(inspector.get_schema_names())
    assert inspector.default_schema_name == "gold"
    assert {"ohlcv_1m", "ohlcv_5m"} <= set(inspector.get_table_names(schema="gold"))
    assert "ohlcv_1m" in inspector.get_table_names()
    assert "ohlcv_1m" not in inspector.get_view_names(schema="gold")
    assert inspector.has_table("trades", schema="silver")
    assert not inspector.has_table("trades_", schema="silver")
    assert inspector.get_pk_constraint("trades", schema="silver")["constrained_columns"] == []
    assert inspector.get_foreign_keys("trades", schema="silver") == []
    assert inspector.get_indexes("trades", schema="silver") == []
    with pytest.raises(NoSuchTableError, match="no_such_table"):
        inspector.get_columns("no_such_table", schema="gold")


def test_columns_have_types_and_comments(engine):
    columns = {column["name"]: column for column in sa.inspect(engine).get_columns("ohlcv_1m", schema="gold")}
    opened = columns["open"]
    assert isinstance(opened["type"], sa.Numeric)
    assert (opened["type"].precision, opened["type"].scale) == (28, 12)
    assert opened["nullable"]
    assert not columns["volume"]["nullable"]
    assert opened["comment"].startswith("price of the first trade")
    assert columns["vwap"]["nullable"]
    assert isinstance(columns["window_start"]["type"], sa.TIMESTAMP)
    assert columns["window_start"]["type"].timezone
    assert isinstance(columns["date"]["type"], sa.Date)
    assert isinstance(columns["is_closed"]["type"], sa.Boolean)
    assert isinstance(columns["symbol"]["type"], sa.String)
    assert isinstance(columns["trade_count"]["type"], sa.BigInteger)


def test_tables_have_comments(engine):
    assert sa.inspect(engine).get_table_comment("ohlcv_1m", schema="gold") == {"text": "one bar per traded window"}


@pytest.mark.parametrize("schema", ["bronze", "silver", "gold"])
def test_every_column_of_every_table_is_read(engine, connection, schema):
    """Names that are words of SQL, `offset` and `date` among them, are quoted where they must be."""
    metadata = sa.MetaData()
    metadata.reflect(engine, schema=schema)
    assert metadata.tables
    for table in metadata.tables.values():
        rows = connection.execute(sa.select(*table.columns).limit(3)).fetchall()
        assert all(len(row) == len(table.columns) for row in rows), table.name


def test_values_are_exact(connection, bars, market):
    want = market.sql("SELECT symbol, window_start, open, volume, quote_volume, trade_count, is_closed, date FROM gold.ohlcv_1m").to_pylist()
    got = connection.execute(sa.select(*[bars.c[name] for name in want[0]])).fetchall()
    assert sorted(tuple(row) for row in got) == sorted(tuple(row.values()) for row in want)
    assert isinstance(got[0][2], Decimal)
    assert got[0][1].tzinfo is not None


@pytest.mark.parametrize("literal", [False, True], ids=["bound", "literal"])
def test_time_filters(connection, bars, literal):
    def windows(*conditions):
        statement = sa.select(bars.c.window_start).distinct().where(*conditions).order_by(bars.c.window_start)
        if literal:
            statement = sa.text(str(statement.compile(connection.engine, compile_kwargs={"literal_binds": True})))
        return [row[0] for row in connection.execute(statement)]

    every = [FIRST_WINDOW + i * MINUTE for i in range(4)]
    assert windows() == every
    assert windows(bars.c.window_start >= every[1], bars.c.window_start < every[3]) == every[1:3]
    assert windows(bars.c.window_start >= every[1].replace(tzinfo=None)) == every[1:]
    berlin = every[2].astimezone(datetime.timezone(datetime.timedelta(hours=1)))
    assert windows(bars.c.window_start == berlin) == [every[2]]
    assert windows(bars.c.date == datetime.date(2025, 3, 25)) == every
    assert windows(bars.c.date > datetime.date(2025, 3, 25)) == []
    assert windows(sa.between(bars.c.window_end, every[1], every[2])) == every[:2]


@pytest.mark.parametrize("literal", [False, True], ids=["bound", "literal"])
def test_other_filters(connection, bars, market, literal):
    def count(*conditions):
        statement = sa.select(sa.func.count()).select_from(bars).where(*conditions)
        if literal:
            statement = sa.text(str(statement.compile(connection.engine, compile_kwargs={"literal_binds": True, "render_postcompile": True})))
        return connection.execute(statement).scalar()

    opened = market.one("SELECT open FROM gold.ohlcv_1m ORDER BY open LIMIT 1 OFFSET 5")
    assert count() == 12
    assert count(bars.c.open == opened) >= 1
    assert count(bars.c.open >= opened) == 12 - count(bars.c.open < opened) < 12
    assert count(bars.c.open > opened + Decimal("0.000000000001")) == 12 - count(bars.c.open <= opened)
    assert count(bars.c.symbol.in_(["BTC-USDT", "ETH-USDT"])) == 8
    assert count(bars.c.symbol.in_([])) == 0
    assert count(bars.c.symbol.ilike("btc%")) == 4
    assert count(bars.c.symbol.like("%it's%")) == 0
    assert count(bars.c.symbol.regexp_match("^(BTC|SOL)")) == 8
    assert count(bars.c.is_closed.is_(True)) + count(bars.c.is_closed.is_(False)) == 12
    assert count(bars.c.vwap.isnot(None)) == 12
    assert count(bars.c.trade_count > 0, bars.c.volume > 0.5) > 0


def test_group_limit_offset_and_null_parameter(connection, bars):
    statement = (
        sa.select(bars.c.symbol, sa.func.sum(bars.c.trade_count).label("trades"))
        .where(sa.or_(sa.literal(None, sa.String()).is_(None), bars.c.symbol == "x"))
        .group_by(bars.c.symbol)
        .order_by(sa.desc("trades"))
        .limit(1)
        .offset(1)
    )
    assert [tuple(row) for row in connection.execute(statement)] == [("SOL-USDT", 2457)]


def test_bins(connection, bars):
    five = sa.func.date_bin(sa.text("INTERVAL '5 minutes'"), bars.c.window_start, sa.text("TIMESTAMP '1970-01-01 00:00:00'"))
    rows = connection.execute(sa.select(five, sa.func.sum(bars.c.trade_count)).group_by(five).order_by(five)).fetchall()
    assert [row[0] for row in rows] == [FIRST_WINDOW - 2 * MINUTE, FIRST_WINDOW + 3 * MINUTE]
    assert sum(row[1] for row in rows) == 11_032


def test_casts_give_the_types_that_they_name(connection):
    types = [sa.TIMESTAMP(timezone=True), sa.Date(), sa.Numeric(20, 4), sa.Float(), sa.BigInteger(), sa.String(), sa.Boolean()]
    row = connection.execute(
        sa.select(
            sa.cast("2025-01-01T00:00:00Z", types[0]),
            sa.cast("2025-01-01", types[1]),
            sa.cast("1.5", types[2]),
            sa.cast("1.5", types[3]),
            sa.cast("15", types[4]),
            sa.cast(15, types[5]),
            sa.cast(sa.literal("true"), types[6]),
        )
    ).one()
    assert tuple(row) == (
        datetime.datetime(2025, 1, 1, tzinfo=UTC),
        datetime.date(2025, 1, 1),
        Decimal("1.5"),
        1.5,
        15,
        "15",
        True,
    )


def test_an_empty_result_has_columns(connection, bars):
    result = connection.execute(sa.select(bars.c.symbol, bars.c.open).where(sa.false()))
    assert list(result.keys()) == ["symbol", "open"]
    assert result.fetchall() == []


def test_mistakes_and_writes_are_database_errors(engine, bars):
    for statement in (sa.text("SELECT * FROM gold.no_such_table"), sa.text("SELEC 1"), bars.delete()):
        with engine.connect() as connection, pytest.raises(DatabaseError):
            connection.execute(statement)


def test_the_profile_is_chosen_in_the_url(market):
    url = f"datafusion+adbc://{market.address}/ticklake/gold?timestamp=naive&header.x-ticklake-types=grafana"
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        start, opened = connection.execute(sa.text("SELECT window_start, open FROM gold.ohlcv_1m LIMIT 1")).one()
    engine.dispose()
    assert start.tzinfo is None
    assert isinstance(opened, float)


def test_empty_batches_of_a_slow_query_are_read_over(slow_server):
    engine = sa.create_engine(f"datafusion+adbc://{slow_server.address}")
    with slow_server.sends_idle_batches(), engine.connect() as connection:
        assert sorted(tuple(row) for row in connection.execute(sa.text(slow.SQL))) == slow.ROWS
    engine.dispose()


def test_connections_of_the_pool_are_used_again(market):
    engine = sa.create_engine(f"datafusion+adbc://{market.address}", pool_size=1)
    with engine.connect() as connection:
        first = connection.connection.dbapi_connection
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is first
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    engine.dispose()

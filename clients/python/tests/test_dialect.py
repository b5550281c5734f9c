import datetime
from decimal import Decimal

import pyarrow
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from ticklake.dialect import AdbcDialect
from ticklake.dialect.arrow_types import sqlalchemy_type
from ticklake.dialect.url import target_of

BARS = sa.table(
    "ohlcv_1m",
    sa.column("symbol", sa.String()),
    sa.column("window_start", sa.TIMESTAMP(timezone=True)),
    sa.column("open", sa.Numeric(28, 12)),
    sa.column("offset", sa.BigInteger()),
    sa.column("date", sa.Date()),
    schema="gold",
)


def sql(statement, literal=True):
    compiled = statement.compile(dialect=AdbcDialect(), compile_kwargs={"literal_binds": literal, "render_postcompile": True})
    return " ".join(str(compiled).split())


def target(text):
    return target_of(sa.engine.make_url(text))


def test_the_url_names_everything():
    got = target("datafusion+adbc://ada:p%40ss@lake:1/ticklake/silver?tls=false&timeout=2.5&header.x-a=b&timestamp=naive")
    assert (got.host, got.port, got.user, got.password) == ("lake", 1, "ada", "p@ss")
    assert (got.catalog, got.schema, got.tls, got.timeout) == ("ticklake", "silver", False, 2.5)
    assert (got.timestamp, got.headers) == ("naive", {"x-a": "b"})
    assert got.connection_options() == {"adbc.connection.catalog": "ticklake", "adbc.connection.db_schema": "silver"}


def test_the_url_may_name_nothing():
    got = target("datafusion+adbc://")
    assert (got.uri(), got.connection_options()) == ("grpc+tcp://127.0.0.1:50051", {})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tls_root_cert=ca.pem", "did you mean 'tls_root_certs'"),
        ("colour=red", "there are token"),
        ("tls=perhaps", "neither true nor false"),
        ("timeout=soon", "timeout"),
        ("tls=true&tls=false", "more than once"),
    ],
)
def test_a_wrong_key_is_named(query, message):
    with pytest.raises(ArgumentError, match=message):
        target(f"datafusion+adbc://lake?{query}")


def test_registered_by_its_entry_point():
    engine = sa.create_engine("datafusion+adbc://127.0.0.1:1")
    assert isinstance(engine.dialect, AdbcDialect)


def test_limit_and_offset():
    rows = sa.select(BARS.c.symbol)
    assert sql(rows.limit(5)).endswith("LIMIT 5")
    assert sql(rows.offset(5)).endswith("ohlcv_1m OFFSET 5")
    assert sql(rows.limit(5).offset(2), literal=False).endswith("LIMIT ? OFFSET ?")


def test_reserved_words_are_quoted():
    assert sql(sa.select(BARS.c.offset, BARS.c.open)) == 'SELECT gold.ohlcv_1m."offset", gold.ohlcv_1m.open FROM gold.ohlcv_1m'


def test_times_are_typed_literals_in_utc():
    noon = datetime.datetime(2025, 1, 1, 12, 30, 0, 5)
    berlin = noon.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    assert "window_start >= TIMESTAMP '2025-01-01 12:30:00.000005'" in sql(sa.select(BARS).where(BARS.c.window_start >= noon))
    assert "TIMESTAMP '2025-01-01 11:30:00.000005'" in sql(sa.select(BARS).where(BARS.c.window_start >= berlin))
    assert "date = DATE '2025-01-01'" in sql(sa.select(BARS).where(BARS.c.date == noon.date()))
    assert "'it''s 5%'" in sql(sa.select(BARS).where(BARS.c.symbol == "it's 5%"))


def test_decimals_keep_their_digits():
    def literal(value):
        return sql(sa.select(BARS).where(BARS.c.open > value)).split("open > ")[1]

    assert literal(Decimal("0.000000000001")) == "CAST('0.000000000001' AS DECIMAL(12, 12))"
    assert literal(Decimal("64231.12")) == "CAST('64231.12' AS DECIMAL(7, 2))"
    assert literal(Decimal("1E+3")) == "CAST('1000' AS DECIMAL(4, 0))"
    assert literal(Decimal("-1.5")) == "CAST('-1.5' AS DECIMAL(2, 1))"
    assert literal(1.5) == "1.5"


def test_operators():
    assert "symbol ILIKE 'btc%'" in sql(sa.select(BARS).where(BARS.c.symbol.ilike("btc%")))
    assert "symbol NOT ILIKE 'b/_%' ESCAPE '/'" in sql(sa.select(BARS).where(~BARS.c.symbol.ilike("b/_%", escape="/")))
    assert "symbol ~ '^B'" in sql(sa.select(BARS).where(BARS.c.symbol.regexp_match("^B")))


def test_casts():
    def cast(type_):
        return sql(sa.select(sa.cast(BARS.c.symbol, type_))).split(" AS ", 1)[1].split(") AS")[0]

    assert cast(sa.DateTime()) == "TIMESTAMP"
    assert cast(sa.TIMESTAMP(timezone=True)) == "TIMESTAMP WITH TIME ZONE"
    assert cast(sa.Text()) == "VARCHAR"
    assert cast(sa.Float()) == "DOUBLE"
    assert cast(sa.Numeric(38, 10)) == "NUMERIC(38, 10)"
    assert cast(sa.ARRAY(sa.String())) == "VARCHAR[]"


@pytest.mark.parametrize(
    ("arrow_type", "expected"),
    [
        (pyarrow.string(), "VARCHAR"),
        (pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), "VARCHAR"),
        (pyarrow.int8(), "SMALLINT"),
        (pyarrow.int32(), "INTEGER"),
        (pyarrow.int64(), "BIGINT"),
        (pyarrow.uint64(), "NUMERIC(20, 0)"),
        (pyarrow.float32(), "REAL"),
        (pyarrow.float64(), "DOUBLE"),
        (pyarrow.decimal128(28, 12), "NUMERIC(28, 12)"),
        (pyarrow.bool_(), "BOOLEAN"),
        (pyarrow.date32(), "DATE"),
        (pyarrow.timestamp("us"), "TIMESTAMP"),
        (pyarrow.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pyarrow.binary(), "BYTEA"),
        (pyarrow.list_(pyarrow.string()), "VARCHAR[]"),
    ],
)
def test_arrow_types(arrow_type, expected):
    assert sqlalchemy_type(arrow_type).compile(AdbcDialect()) == expected

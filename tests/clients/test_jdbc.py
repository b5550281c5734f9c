"""Arrow's Flight SQL JDBC driver, by a small Java program and by sqlline, in a JVM whose time zone is not UTC."""

import datetime
import os
import pathlib
import subprocess
from decimal import Decimal

import pytest

JARS = pathlib.Path(os.environ["TICKLAKE_TEST_JDBC"])
PROGRAM = pathlib.Path(__file__).parent / "jdbc/JdbcClient.java"
# 18.3.0 cannot read zoned timestamps: its Avatica has no case for them.
DRIVERS = {"18.2.0": "", "18.3.0": "&x-ticklake-timestamp=naive"}
JAVA = ["java", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-Duser.timezone=Asia/Kolkata", "-Xmx256m", "-XX:TieredStopAtLevel=1"]
QUERY = "SELECT symbol, window_start, open, quote_volume, trade_count, is_closed, date, vwap FROM gold.ohlcv_1m"
# A JVM is slow to start on a busy machine.
DEADLINE_S = 300
CLASSPATH: list[str] = []
PRICES = ("open", "quote_volume", "vwap")
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def url(market, version, more=""):
    return f"jdbc:arrow-flight-sql://{market.address}/?useEncryption=false{DRIVERS[version]}{more}"


def driver(version):
    return str(JARS / f"flight-sql-jdbc-driver-{version}.jar")


def ask(version, address, *commands):
    """The answers, each a list of rows of text, the first of them names with types."""
    command = [*JAVA, "-cp", ":".join([driver(version), *CLASSPATH]), "JdbcClient", address]
    done = subprocess.run(command, input="".join(f"{c}\n" for c in commands), capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    answers = [[line.split("\t") for line in block.splitlines()] for block in done.stdout.split("\n\n")[:-1]]
    assert len(answers) == len(commands), done.stdout
    return answers


def column(answer, name):
    names = [word.split(":")[0] for word in answer[0]]
    return [row[names.index(name)] for row in answer[1:]]


@pytest.fixture(params=DRIVERS)
def version(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """The Java program, compiled once: it needs no class of a driver."""
    classes = tmp_path_factory.mktemp("jdbc")
    subprocess.run(["javac", "-d", classes, PROGRAM], check=True, timeout=DEADLINE_S)
    CLASSPATH[:] = [str(classes)]


def test_metadata(market, version):
    commands = [
        "product",
        "catalogs",
        "schemas",
        "types",
        "tables\tgold\t%",
        "tables\t%\ttrades\tTABLE",
        "columns\tgold\tohlcv\\_1m",
        "keys\tgold\tohlcv_1m",
    ]
    product, catalogs, schemas, types, gold, trades, columns, keys = ask(version, url(market, version), *commands)
    assert product[0][0].lower().startswith("ticklake") and product[0][1:] == ["true", '"']
    assert column(catalogs, "TABLE_CAT") == ["ticklake"]
    assert {"bronze", "silver", "gold", "system"} <= set(column(schemas, "TABLE_SCHEM"))
    assert {"TABLE", "VIEW"} <= set(column(types, "TABLE_TYPE"))
    assert {"ohlcv_1m", "ohlcv_5m"} <= set(column(gold, "TABLE_NAME"))
    assert set(column(trades, "TABLE_SCHEM")) == {"bronze", "silver"}
    names = column(columns, "COLUMN_NAME")
    assert names[:3] == ["venue", "symbol", "window_start"] and len(names) == 24
    opened = names.index("open")
    assert column(columns, "DATA_TYPE")[opened] == "3"
    assert (column(columns, "COLUMN_SIZE")[opened], column(columns, "DECIMAL_DIGITS")[opened]) == ("28", "12")
    # A bar none of whose prints sets prices has none.
    nullable = dict(zip(names, column(columns, "IS_NULLABLE"), strict=True))
    assert (nullable["open"], nullable["volume"], nullable["window_start"]) == ("YES", "NO", "NO")
    assert sorted(column(keys, "COLUMN_NAME")) == ["symbol", "venue", "window_start"]


def test_no_keys_are_no_rows_and_no_error(market, version):
    """Both drivers show no columns then. Their queue of streams drops one without rows (`FlightEndpointDataQueue.enqueue`), and results of metadata
    take their columns from the first stream alone (`ArrowFlightJdbcFlightStreamResultSet.fromFlightInfo`): nothing that a server sends brings them.
    """
    commands = ["shape\tprimary\tbronze\ttrades", *(f"shape\t{kind}\tgold\tohlcv_1m" for kind in ("imported", "exported", "cross"))]
    assert ask(version, url(market, version), *commands) == [[["0", "0"]]] * 4
    (keys,) = ask(version, url(market, version), "shape\tprimary\tgold\tohlcv_1m")
    assert keys == [["6", "3"]]


def test_rows_are_those_of_adbc(market, version):
    want = sorted(expected_row(row) for row in market.sql(QUERY).to_pylist())
    for command in ("statement", "query"):
        (answer,) = ask(version, url(market, version), f"{command}\t{QUERY}")
        assert sorted(answer[1:]) == want


def expected_row(row):
    texts = {name: str(value) for name, value in row.items()}
    texts |= {name: f"{row[name]:f}" for name in PRICES}
    texts["window_start"] = str((row["window_start"] - EPOCH) // datetime.timedelta(microseconds=1))
    texts["is_closed"] = str(row["is_closed"]).lower()
    return list(texts.values())


def test_parameters(market, version):
    counted = "query\tSELECT count(*) FROM gold.ohlcv_1m WHERE "
    start = "query\tSELECT count(*) FROM gold.ohlcv_1m WHERE window_start = "
    opened = market.one("SELECT open FROM gold.ohlcv_1m WHERE symbol = 'SOL-USDT' ORDER BY window_start LIMIT 1")
    answers = ask(
        version,
        url(market, version),
        f"{counted}symbol = ?\ts:SOL-USDT",
        f"{counted}symbol = ? AND trade_count >= ? AND trade_count >= ?\ts:SOL-USDT\ti:1\tl:1",
        f"{counted}open = ?\ts:{opened:f}",
        f"{counted}is_closed = ?\tb:true",
        f"{start}?\tt:2025-03-25T23:08:00Z",
        f"{counted}symbol = ?\tn:",
        f"{counted}symbol = ?\ts:it's",
    )
    assert [answer[1][0] for answer in answers] == ["4", "4", "1", "9", "3", "0", "0"]


def test_what_the_drivers_take_for_a_parameter(market, version):
    """By the type that the server tells: of an unknown one, and of a decimal, text. What they cut to a whole number the server never sees."""
    where = "query\tSELECT count(*) FROM gold.ohlcv_1m WHERE"
    taken = {
        f"{where} date = ?\tD:2025-03-25": "12",
        f"{where} trade_count > ?\ti:7": "12",
        f"{where} open > ?\ts:1.50": "12",
        "query\tSELECT CAST(? AS DECIMAL(20, 2)) AS x\ts:1.50": "1.50",
        "query\tSELECT ? AS x\ts:1.50": "1.50",
    }
    answers = ask(version, url(market, version), *taken)
    assert [answer[1][0] for answer in answers] == list(taken.values())
    refused = [f"query\tSELECT ? AS x\t{value}" for value in ("d:1.50", "f:1.5", "D:2025-03-25", "i:7", "b:true")]
    refused += [f"{where} open > ?\t{value}" for value in ("d:1.50", "f:1.5")]
    for answer in ask(version, url(market, version), *refused):
        assert answer[0][0] == "ERROR" and "is not yet supported for expected Arrow type Utf8" in answer[0][1]


def test_an_empty_result_has_columns(market, version):
    (answer,) = ask(version, url(market, version), "query\tSELECT symbol, open, window_start FROM gold.ohlcv_1m WHERE symbol = 'none'")
    assert [word.split(":")[0] for word in answer[0]] == ["symbol", "open", "window_start"]
    assert len(answer) == 1


def test_decimals_are_exact_and_null_is_null(market, version):
    sql = "SELECT CAST('12345678901234567890.1234567890' AS DECIMAL(38, 10)) AS a, CAST(NULL AS DECIMAL(38, 10)) AS b, CAST(NULL AS TIMESTAMP) AS c"
    (answer,) = ask(version, url(market, version), f"query\t{sql}")
    assert Decimal(answer[1][0]) == Decimal("12345678901234567890.1234567890")
    assert answer[1][1:] == ["NULL", "NULL"]


def test_mistakes_are_exceptions_and_the_connection_lives_on(market, version):
    missing, write, fine = ask(
        version, url(market, version), "query\tSELECT * FROM gold.no_such_table", "query\tDROP TABLE gold.ohlcv_1m", "query\tSELECT 1 AS one"
    )
    assert missing[0][0] == "ERROR" and "no_such_table" in missing[0][1]
    assert write[0][0] == "ERROR"
    assert fine[1] == ["1"]


def test_a_user_and_a_token_are_accepted_without_users(market, version):
    for log_in in ("&user=ada&password=any", "&token=any"):
        (answer,) = ask(version, url(market, version, log_in), "query\tSELECT 1 AS one")
        assert answer[1] == ["1"], log_in


def sqlline(address, version, *commands, user="", password=""):
    """What sqlline prints in UTC, line by line, without quotes."""
    (jar,) = JARS.glob("sqlline-*.jar")
    command = [
        *JAVA,
        "-Duser.timezone=UTC",
        "-cp",
        f"{jar}:{driver(version)}",
        "sqlline.SqlLine",
        "-d",
        "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver",
    ]
    command += ["-u", address, "-n", user, "-p", password, "--outputformat=csv", "--silent=true", "--color=false"]
    script = "".join(f"{line}\n" for line in [*commands, "!quit"])
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=DEADLINE_S)
    return [line.replace("'", "") for line in (done.stdout + done.stderr).splitlines()]


def test_sqlline(market, version):
    grouped = "SELECT symbol, count(*) AS bars, sum(trade_count) AS trades FROM gold.ohlcv_1m GROUP BY symbol ORDER BY symbol;"
    lines = sqlline(url(market, version), version, "!tables", grouped)
    rows = [line for line in lines if line.startswith(("BTC-USDT,", "ETH-USDT,", "SOL-USDT,"))]
    assert rows == ["BTC-USDT,4,6770", "ETH-USDT,4,1805", "SOL-USDT,4,2457"], lines
    assert any("ohlcv_5m" in line for line in lines), lines


def test_sqlline_shows_decimals_times_and_nothing(market, version):
    columns = "symbol, CAST(open AS DECIMAL(20, 2)) AS open, window_start"
    first = f"SELECT {columns} FROM gold.ohlcv_1m WHERE symbol = 'SOL-USDT' ORDER BY window_start LIMIT 1;"
    lines = sqlline(url(market, version), version, first, "SELECT symbol, high FROM gold.ohlcv_1m WHERE symbol = 'none';", "SELECT 7 AS after;")
    assert "SOL-USDT,143.54,2025-03-25 23:07:00.0" in lines, lines
    assert "7" in lines and not any(line.startswith("none") for line in lines), lines


def test_sqlline_logs_in(guarded, version):
    address = f"jdbc:arrow-flight-sql://{guarded.address}/?useEncryption=true&tlsRootCerts={guarded.authority}{DRIVERS[version]}"
    lines = sqlline(address, version, "SELECT count(*) AS n FROM gold.ohlcv_1m;", user="alice", password=guarded.password)
    assert "12" in lines, lines

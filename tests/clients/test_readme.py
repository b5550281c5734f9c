"""The README's blocks, run as they stand: on loopback, and with a log-in over TLS by password and by token. Those of SQLAlchemy are run by
`dialect/` and `sqlalchemy14/`.
"""

import re
import shlex
import subprocess

import pytest
import readme
from test_go import go
from test_jdbc import JARS, JAVA, ask, compiled, driver  # noqa: F401 - the fixture compiles the Java program

COUNT = "SELECT count(*) FROM gold.ohlcv_1m"
BARS = 12
VARIANTS = 3


@pytest.fixture
def fill(market, guarded):
    return lambda text: readme.filled(text, market, guarded)


def test_python(fill):
    names = {}
    exec(fill(readme.python("Python")), names)
    assert names["server"] is not None


def test_adbc_polars_pandas_and_duckdb(fill):
    """What reads tables is run over each of the connections."""
    text = fill(readme.python("ADBC"))
    names = {}
    exec(text, names)
    assert names["bars"].num_rows == 4
    connections = [line for line in text.splitlines() if line.startswith("server = ")]
    assert len(connections) == VARIANTS
    for connection in connections:
        exec(f"{connection}\n{fill(readme.python('polars, pandas, DuckDB'))}", names)
        with names["server"] as server, server.cursor() as cursor:
            cursor.execute(COUNT)
            assert cursor.fetchone() == (BARS,)


@pytest.mark.parametrize("version", ["18.2.0", "18.3.0"])
def test_jdbc(fill, version):
    urls = [url for url, comment in readme.lines("JDBC", "jdbc:") if comment == version]
    assert len(urls) == VARIANTS
    for url in urls:
        counted, times = ask(version, fill(url), f"statement\t{COUNT}", "statement\tSELECT window_start FROM gold.ohlcv_1m")
        assert counted[1] == [str(BARS)] and len(times) == BARS + 1, url


@pytest.mark.parametrize("version", ["18.2.0"])
def test_sqlline(fill, version):
    (sqlline,) = JARS.glob("sqlline-*.jar")
    commands = fill(readme.block("sqlline")).replace("\\\n", " ").splitlines()
    assert len(commands) == VARIANTS
    for command in commands:
        command = command.replace("sqlline.jar", str(sqlline)).replace("flight-sql-jdbc-driver.jar", driver(version))
        words = shlex.split(command)
        words[1:1] = [option for option in JAVA[1:] if option not in words]
        done = subprocess.run(
            [*words, "--outputformat=csv", "--silent=true", "--color=false"], input=f"{COUNT};\n!quit\n", capture_output=True, text=True, timeout=300
        )
        assert f"'{BARS}'" in done.stdout, done.stdout + done.stderr


def test_go(fill, guarded):
    """database/sql, and Grafana's two clients with what their settings say."""
    urls = re.findall(r'sql\.Open\("flightsql", "([^"]+)"', readme.block("Go"))
    assert len(urls) == VARIANTS
    pem = f";adbc.flight.sql.client_option.tls_root_certs={guarded.authority.read_text()}"
    for url in urls:
        go("-run", "TestRowsOfABar|TestParameters", ".", TICKLAKE_DSN=fill(url) + (pem if "tls" in url else ""))


def test_grafana(fill, guarded):
    sources = readme.lines("Grafana", "InfluxDB")
    assert len(sources) == 2
    for source, _ in sources:
        words = re.fullmatch(r"InfluxDB +URL (https?)://(\S+) +Database (\S+) +Insecure connection (on|off) +Token (\S+)", source)
        scheme, address, database, insecure, token = fill_all(fill, words.groups())
        assert (scheme == "http") == (insecure == "on")
        go("-run=^TestGrafana", "./grafana/v18", **settings(guarded, address, insecure == "off", f"database={database}", f"Bearer {token}"))
    sources = readme.lines("Grafana", "plugin")
    assert len(sources) == VARIANTS
    for source, _ in sources:
        words = re.fullmatch(r"plugin +Host (\S+) +MetaData (\S+) +Require TLS (on|off) +Auth (.+)", source)
        address, metadata, tls, login = fill_all(fill, words.groups())
        go("-run=^TestGrafana", "./grafana/v12", **settings(guarded, address, tls == "on", metadata, authorization(login)))


def fill_all(fill, words):
    return [fill(word) for word in words]


def authorization(login):
    """What the plugin does with its setting: a token is a bearer, a user and a password log in first."""
    kind, *words = login.split()
    return {"none": "", "token": f"Bearer {words[-1] if words else ''}", "username": f"Basic {':'.join(words)}"}[kind]


def settings(guarded, address, tls, header, login):
    own = {"TICKLAKE_SERVER": address, "TICKLAKE_HEADER": header, "TICKLAKE_AUTHORIZATION": login}
    return own | ({"TICKLAKE_TLS": "on", "SSL_CERT_FILE": str(guarded.authority)} if tls else {})

"""Log-in and TLS with a private authority, as the drivers do them: user and password, token, certificate."""

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pytest
from test_jdbc import DRIVERS, ask, compiled  # noqa: F401 - the fixture compiles the Java program

import ticklake

COUNT = "SELECT count(*) FROM gold.ohlcv_1m"
CLIENT = "adbc.flight.sql.client_option."


def connect(guarded, **options):
    options[f"{CLIENT}tls_root_certs"] = guarded.authority.read_text()
    return adbc_driver_flightsql.dbapi.connect(f"grpc+tls://{guarded.address}", options, autocommit=True)


def one(connection, statement):
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def logins(guarded):
    certificate, key = guarded.certificate("alice")
    return {
        "password": {"username": "alice", "password": guarded.password},
        "token as password": {"username": "alice", "password": guarded.token},
        "token": {"adbc.flight.sql.authorization_header": f"Bearer {guarded.token}"},
        "certificate": {f"{CLIENT}mtls_cert_chain": certificate.read_text(), f"{CLIENT}mtls_private_key": key.read_text()},
    }


def test_adbc(guarded, market):
    bars = market.one(COUNT)
    for how, login in logins(guarded).items():
        assert one(connect(guarded, **login), COUNT) == bars, how


def test_adbc_is_refused(guarded):
    for login in [{}, {"username": "alice", "password": "wrong"}, {"adbc.flight.sql.authorization_header": "Bearer None"}]:
        with pytest.raises(adbc_driver_manager.Error, match=r"(?i)unauthenticated"):
            one(connect(guarded, **login), "SELECT 1")
    with pytest.raises(adbc_driver_manager.Error, match="certificate"):
        one(adbc_driver_flightsql.dbapi.connect(f"grpc+tls://{guarded.address}", logins(guarded)["password"]), "SELECT 1")


def test_a_schema_that_is_not_allowed(guarded):
    connection = connect(guarded, **logins(guarded)["password"])
    catalogs = connection.adbc_get_objects(depth="db_schemas").read_all().to_pylist()
    assert [s["db_schema_name"] for c in catalogs for s in c["catalog_db_schemas"]] == ["gold"]
    with pytest.raises(adbc_driver_manager.Error, match="may not read schema silver"):
        one(connection, "SELECT count(*) FROM silver.trades")


@pytest.mark.parametrize("version", DRIVERS)
def test_jdbc(guarded, market, version):
    bars = str(market.one(COUNT))
    url = f"jdbc:arrow-flight-sql://{guarded.address}/?useEncryption=true&tlsRootCerts={guarded.authority}{DRIVERS[version]}"
    for login in (f"&user=alice&password={guarded.password}", f"&token={guarded.token}"):
        counted, types = ask(version, url + login, f"statement\t{COUNT}", "types")
        assert counted[1] == [bars] and len(types) > 1, login
    with pytest.raises(AssertionError, match=r"(?i)unauthenticated"):
        ask(version, f"{url}&user=nobody&password=wrong", f"statement\t{COUNT}")


def test_ticklake(guarded, market):
    login = {"user": "alice", "password": guarded.password}
    with ticklake.connect(guarded.address, tls=True, tls_root_certs=str(guarded.authority), **login) as server:
        assert server.query(COUNT).to_arrow().column(0)[0].as_py() == market.one(COUNT)


def test_a_new_certificate_is_taken(guarded):
    before = guarded.serial()
    guarded.renew()
    guarded.wait_for_serial(lambda serial: serial != before)
    assert one(connect(guarded, **logins(guarded)["token"]), "SELECT 1") == 1

import pytest

from ticklake.target import Target, parse_address

HEADER = "adbc.flight.sql.rpc.call_header."


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051, None)),
        ("localhost", ("localhost", 50051, None)),
        ("grpc://lake:1", ("lake", 1, False)),
        ("grpc+tls://lake:1/", ("lake", 1, True)),
        ("[::1]:1", ("::1", 1, None)),
        ("[::1]", ("::1", 50051, None)),
    ],
)
def test_addresses(address, expected):
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["http://lake:1", "lake:port", "", ":1"])
def test_wrong_addresses_say_what_is_right(address):
    with pytest.raises(ValueError, match="use "):
        parse_address(address)


@pytest.mark.parametrize(
    ("host", "tls", "uri"),
    [
        ("127.0.0.1", None, "grpc+tcp://127.0.0.1:50051"),
        ("::1", None, "grpc+tcp://[::1]:50051"),
        ("localhost", None, "grpc+tcp://localhost:50051"),
        ("127.0.0.1", True, "grpc+tls://127.0.0.1:50051"),
        ("10.0.0.1", None, "grpc+tls://10.0.0.1:50051"),
        ("lake.example.com", None, "grpc+tls://lake.example.com:50051"),
        ("lake.example.com", False, "grpc+tcp://lake.example.com:50051"),
    ],
)
def test_only_loopback_is_plain_by_itself(host, tls, uri):
    assert Target(host, tls=tls).uri() == uri


def test_log_in_timeout_and_headers_become_options():
    options = Target(user="ada", password="secret", timeout=5, types="arrow", timestamp="ns", headers={"X-A": "b"}).database_options()
    assert (options["username"], options["password"]) == ("ada", "secret")
    assert options["adbc.flight.sql.rpc.timeout_seconds.query"] == "5.0"
    assert options[f"{HEADER}x-ticklake-types"] == "arrow"
    assert options[f"{HEADER}x-ticklake-timestamp"] == "ns"
    assert options[f"{HEADER}x-a"] == "b"
    assert Target(token="t").database_options()["adbc.flight.sql.authorization_header"] == "Bearer t"


def test_a_token_and_a_user_are_refused_together():
    with pytest.raises(ValueError, match="not both"):
        Target(user="ada", token="t").database_options()


def test_certificates_are_read_for_tls_only(tmp_path):
    roots = tmp_path / "ca.pem"
    roots.write_text("PEM")
    name = "adbc.flight.sql.client_option.tls_root_certs"
    assert Target("lake", tls_root_certs=str(roots)).database_options()[name] == "PEM"
    assert name not in Target("127.0.0.1", tls_root_certs=str(roots)).database_options()


def test_secrets_are_not_shown():
    assert "secret" not in repr(Target(user="ada", password="secret"))
    assert "secret" not in repr(Target(token="secret"))

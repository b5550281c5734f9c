"""Where a server is and how to talk to it, as the options of the ADBC Flight SQL driver.

One place for `connect()` and the SQLAlchemy dialect, so that the same names mean the same in both.
"""

from __future__ import annotations

import ipaddress
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_PORT = 50051
_CLIENT = "adbc.flight.sql.client_option."
_HEADER = "adbc.flight.sql.rpc.call_header."
_TIMEOUT = "adbc.flight.sql.rpc.timeout_seconds."
_COOKIES = "adbc.flight.sql.rpc.with_cookie_middleware"


@dataclass(frozen=True)
class Target:
    """A server, a log-in and the form of the answers. Files are paths to PEM; times are seconds."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: bool | None = None
    tls_root_certs: str | None = None
    tls_skip_verify: bool = False
    tls_override_hostname: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    timeout: float | None = None
    types: str | None = None
    timestamp: str | None = None
    catalog: str | None = None
    schema: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def encrypted(self) -> bool:
        """TLS unless the server is on this machine, where nobody listens in; `tls` decides where it is given."""
        return not is_loopback(self.host) if self.tls is None else self.tls

    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpc+tls' if self.encrypted else 'grpc+tcp'}://{host}:{self.port}"

    def database_options(self) -> dict[str, str]:
        if self.token is not None and self.user is not None:
            raise ValueError("give a token, or a user and a password, not both")
        options = {f"{_HEADER}{name.lower()}": value for name, value in self.headers.items()}
        options[_COOKIES] = "true"  # sessions are kept in a cookie
        if self.types is not None:
            options[f"{_HEADER}x-ticklake-types"] = self.types
        if self.timestamp is not None:
            options[f"{_HEADER}x-ticklake-timestamp"] = self.timestamp
        if self.token is not None:
            options["adbc.flight.sql.authorization_header"] = f"Bearer {self.token}"
        if self.user is not None:
            options["username"] = self.user
            options["password"] = self.password or ""
        if self.timeout is not None:
            for call in ("connect", "query", "fetch", "update"):
                options[f"{_TIMEOUT}{call}"] = str(float(self.timeout))
        if self.encrypted:
            options |= self._tls_options()
        return options

    def _tls_options(self) -> dict[str, str]:
        options = {}
        if self.tls_skip_verify:
            options[f"{_CLIENT}tls_skip_verify"] = "true"
        if self.tls_override_hostname is not None:
            options[f"{_CLIENT}tls_override_hostname"] = self.tls_override_hostname
        files = {
            "tls_root_certs": self.tls_root_certs,
            "mtls_cert_chain": self.client_certificate,
            "mtls_private_key": self.client_key,
        }
        for name, path in files.items():
            if path is not None:
                options[f"{_CLIENT}{name}"] = pathlib.Path(path).read_text()
        return options

    def connection_options(self) -> dict[str, str]:
        options = {}
        if self.catalog:
            options["adbc.connection.catalog"] = self.catalog
        if self.schema:
            options["adbc.connection.db_schema"] = self.schema
        return options


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(address: str) -> tuple[str, int, bool | None]:
    """`host`, `host:port`, `[v6]:port`, each with or without `grpc://` or `grpc+tls://`: host, port, and TLS if told."""
    tls = None
    scheme, separator, rest = address.partition("://")
    if separator:
        if scheme not in ("grpc", "grpc+tcp", "grpc+tls"):
            raise ValueError(f"unknown scheme in {address!r}: use grpc:// or grpc+tls://")
        tls = scheme == "grpc+tls"
        address = rest
    host, separator, port = address.rstrip("/").rpartition(":")
    if not separator or port.endswith("]"):
        host, port = address.rstrip("/"), str(DEFAULT_PORT)
    if not host or not port.isdigit():
        raise ValueError(f"no host and port in {address!r}: use host:port")
    return host.strip("[]"), int(port), tls

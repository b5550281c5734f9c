"""What a database URL says, as a `Target`. A key that means nothing is an error that names the nearest right one."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from ticklake.target import DEFAULT_PORT, Target

_HEADER_PREFIX = "header."


def boolean(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise ValueError(f"{text!r} is neither true nor false")
    return values[text.lower()]


_KEYS: dict[str, Callable[[str], Any]] = {
    "token": str,
    "tls": boolean,
    "tls_root_certs": str,
    "tls_skip_verify": boolean,
    "tls_override_hostname": str,
    "client_certificate": str,
    "client_key": str,
    "timeout": float,
    "types": str,
    "timestamp": str,
}


def target_of(url: URL) -> Target:
    options: dict[str, Any] = {}
    headers: dict[str, str] = {}
    for key, value in url.query.items():
        if not isinstance(value, str):
            raise ArgumentError(f"{key} stands more than once in the URL")
        if key.startswith(_HEADER_PREFIX):
            headers[key[len(_HEADER_PREFIX) :]] = value
        elif key in _KEYS:
            options[key] = _parsed(key, value)
        else:
            raise ArgumentError(f"unknown key {key!r} in the URL{_nearest(key)}")
    catalog, _, schema = (url.database or "").partition("/")
    return Target(
        url.host or "127.0.0.1",
        url.port or DEFAULT_PORT,
        user=url.username,
        password=None if url.password is None else str(url.password),
        catalog=catalog or None,
        schema=schema or None,
        headers=headers,
        **options,
    )


def _parsed(key: str, value: str) -> Any:
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise ArgumentError(f"{key} in the URL: {error}") from error


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, _KEYS, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(_KEYS)} and {_HEADER_PREFIX}NAME"

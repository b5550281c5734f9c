"""Reads a Ticklake lakehouse.

`connect()` queries a running server over Arrow Flight SQL, `Lake` opens the Delta tables without one.
`ticklake.dialect` is the SQLAlchemy dialect `datafusion+adbc`, `ticklake.superset` and `ticklake.sqlglot` are for Superset.
"""

from ticklake.connection import Connection, Result, connect
from ticklake.lake import Lake

__all__ = ["Connection", "Lake", "Result", "connect"]

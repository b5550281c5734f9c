"""The SQLAlchemy dialect `datafusion+adbc`, for SQLAlchemy 1.4 and 2: queries, and reflection with comments. Reads only.

datafusion+adbc://USER:PASSWORD@HOST:PORT/CATALOG/SCHEMA?tls=true&tls_root_certs=ca.pem&timeout=30&header.NAME=VALUE
"""

from ticklake.dialect.base import AdbcDialect

__all__ = ["AdbcDialect"]

"""For tests on loopback only: a metadata database in the service's folder, no CSRF tokens, no content security policy."""

import os

SECRET_KEY = "for-tests-on-loopback-only-0123456789abcdef"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_DIR']}/metadata.db"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
PREVENT_UNSAFE_DB_CONNECTIONS = False
RATELIMIT_ENABLED = False

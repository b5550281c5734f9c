"""The Go tests of `go/`, run against the server: the ADBC driver through database/sql, and Grafana's two Flight SQL clients by what their macros
are written out to.
"""

import os
import subprocess

from processes import REPOSITORY


def go(*tests, **settings):
    own = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    command = ["go", "test", "-count=1", "-timeout=5m", *tests]
    env = os.environ | own | settings
    done = subprocess.run(command, cwd=REPOSITORY / "tests/clients/go", env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


def test_go_clients(market):
    go("-skip=^TestSlow", "./...", TICKLAKE_SERVER=market.address, TICKLAKE_DSN=f"uri=grpc+tcp://{market.address}")


def test_a_log_in_by_handshake(guarded):
    """As Grafana's plugin does it for the life of a data source."""
    secured = {"TICKLAKE_SERVER": guarded.address, "TICKLAKE_TLS": "on", "SSL_CERT_FILE": str(guarded.authority)}
    go("-run=^TestLogInAndMetadata$", "./grafana/v12", TICKLAKE_USER="alice", TICKLAKE_PASSWORD=guarded.password, **secured)

"""A server that sends an empty batch ten times a second while a query computes, and a statement that computes before its first row and before
its last one.
"""

import contextlib
import pathlib
import re
import urllib.request

from processes import Role, free_port, wait_for

SQL = " ".join(line for line in pathlib.Path(__file__).with_name("slow.sql").read_text().splitlines() if not line.startswith("--"))
# Of seven remainders six have one partner each, whose product with them leaves 3.
ROWS = [("first", 6 * 2_000 * 2_000), ("last", 6 * 4_000 * 4_000)]
IDLE_BATCHES = re.compile(r"^ticklake_serve_idle_batches_sent_total (\d+)$", re.MULTILINE)


class SlowServer:
    """`ticklake serve` over `lake`."""

    def __init__(self, lake, folder):
        self.folder = lake
        self.address, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        arguments = ["serve", "--lake", str(lake), "--flight-addr", self.address, "--http-addr", self.http]
        self.server = Role(arguments, folder / "serve.log", {"TICKLAKE_SERVE__IDLE_BATCH_EVERY": "100ms"})
        wait_for(lambda: self.idle_batches() == 0, "server", watch=[self.server])

    def idle_batches(self):
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as answer:
            return int(IDLE_BATCHES.search(answer.read().decode())[1])

    @contextlib.contextmanager
    def sends_idle_batches(self):
        """What runs within gets some: before the first row, and between the rows."""
        before = self.idle_batches()
        yield
        sent = self.idle_batches() - before
        assert sent >= 4, f"{sent} empty batches"

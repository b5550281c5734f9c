"""Starts the binary under test, waits for conditions with a deadline, and ends what was started."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import time

BINARY = os.environ.get("TICKLAKE_BIN", "ticklake")
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEADLINE_S = 90


def wait_for(condition, what, deadline_s=DEADLINE_S, watch=()):
    """The first true answer of `condition`. Raises at the deadline, or once a process of `watch` has ended."""
    end = time.monotonic() + deadline_s
    error = None
    while time.monotonic() < end:
        try:
            if answer := condition():
                return answer
        except Exception as e:  # what is not up yet refuses in many ways
            error = e
        for process in watch:
            process.check()
        time.sleep(0.1)
    raise AssertionError(f"no {what} after {deadline_s} s: {error}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Role:
    """One running `ticklake` command with its log in a file."""

    def __init__(self, arguments, log, env=None):
        self.name, self.log = arguments[0], pathlib.Path(log)
        with open(self.log, "w") as out:
            self.process = subprocess.Popen([BINARY, *arguments], stdout=out, stderr=out, env=clean_env(env))

    def check(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def drain(self, deadline_s=30):
        """SIGTERM, and the exit code that follows."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not drain in {deadline_s} s:\n{self.tail()}") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def clean_env(extra=None):
    """No setting of the machine's own reaches the process under test."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("TICKLAKE_", "AWS_"))}
    return own | (extra or {})


def run(*arguments, env=None, stdin=None, deadline_s=DEADLINE_S):
    """A command that ends by itself: its standard output, as bytes."""
    given = None if stdin is None else stdin.encode()
    done = subprocess.run([BINARY, *arguments], input=given, capture_output=True, env=clean_env(env), timeout=deadline_s)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr.decode()}"
    return done.stdout


def start_up(data_dir, feed, log):
    """`ticklake up` on free ports, and the ports it chose."""
    ports = pathlib.Path(data_dir, "ports.json")
    ports.unlink(missing_ok=True)
    any_port = "127.0.0.1:0"
    up = Role(["up", "--data-dir", str(data_dir), "--flight-addr", any_port, "--kafka-addr", any_port, "--http-addr", any_port, *feed], log)
    try:
        return up, wait_for(lambda: json.loads(ports.read_text()), "ports.json", watch=[up])
    except BaseException:
        up.kill()
        raise

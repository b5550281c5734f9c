"""The blocks of "From your tools" in the README, which the tests run as they stand there; only addresses, secrets and paths are replaced."""

import re
import textwrap

from processes import REPOSITORY

LOCAL, GUARDED = "127.0.0.1:50051", "lake.example.com:50051"


def block(title):
    """The indented lines under **title**, up to the next title."""
    section = (REPOSITORY / "README.md").read_text().split("\n## From your tools\n")[1].split("\n## ")[0]
    (found,) = re.findall(rf"^\*\*{re.escape(title)}\*\*(.*?)(?=^\*\*|\Z)", section, re.DOTALL | re.MULTILINE)
    lines = [line for line in found.splitlines()[1:] if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines)).strip()


def lines(title, start):
    """Those lines of a block that begin with `start`, each with what its comment says."""
    parts = [line.partition(" # ") for line in block(title).splitlines() if line.startswith(start)]
    return [(text.strip(), comment.strip()) for text, _, comment in parts]


def python(title):
    """A block of Python, without the shell lines in it."""
    return "\n".join(line for line in block(title).splitlines() if not line.startswith("pip "))


def filled(text, market, guarded):
    replacements = {
        LOCAL: market.address,
        GUARDED: guarded.address,
        "PASSWORD": guarded.password,
        "TOKEN": guarded.token,
        "ca.pem": str(guarded.authority),
        "ticklake-data/lake": str(market.folder),
    }
    for name, value in replacements.items():
        text = text.replace(name, value)
    return text

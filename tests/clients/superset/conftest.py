"""Two Supersets: `plain` with flightsql-dbapi alone, `packaged` with the package `ticklake` besides."""

import os

import pytest

from superset_api import start, stop


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("superset-plain")
    try:
        yield start(folder)
    finally:
        stop(folder)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("superset-ticklake")
    try:
        yield start(folder, os.environ["TICKLAKE_TEST_PACKAGE"])
    finally:
        stop(folder)

"""Two Supersets: `plain` with flightsql-dbapi alone, `packaged` with the package `ticklake` besides."""

import os

import pytest

from superset_api import start, stop


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("superset-plain")
    yield start(folder)
    stop(folder)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("superset-ticklake")
    yield start(folder, os.environ["TICKLAKE_TEST_PACKAGE"])
    stop(folder)

"""Two running `ticklake up`. `lake`: first on simulated trades, then, on the same folder, on a recorded session that ends. `market`: on four
minutes of recorded trades of three symbols, which the drivers and the notebooks read.

What stands still can be read twice: after the session the server, the folder's readers and `ticklake query` must agree to the last digit.
"""

import adbc_driver_flightsql.dbapi
import pytest
from slow import SlowServer

from guarded import Guarded
from processes import REPOSITORY, start_up, wait_for

RECORDED_SESSION = REPOSITORY / "tests/fixtures/ws-sessions/binance-usdm.jsonl.zst"
RECORDED_TRADES = 91
SIMULATED_TRADES = 5_000
MARKET = REPOSITORY / "tests/fixtures/binance-spot-2025/trades.jsonl.gz"
MARKET_TRADES = 11_032


class Lake:
    def __init__(self, folder, address):
        self.folder, self.address = folder, address
        self.connection = adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", autocommit=True)

    def sql(self, statement, parameters=None):
        """An Arrow table over ADBC."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetch_arrow_table()

    def one(self, statement):
        return self.sql(statement).column(0)[0].as_py()

    def table_path(self, name):
        return str(self.folder / name.replace(".", "/"))


@pytest.fixture(scope="session")
def lake(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("ticklake-data")
    simulate(data_dir)
    up, ports = start_up(data_dir, ["--feed", f"replay={RECORDED_SESSION}"], data_dir / "up-replay.log")
    try:
        lake = Lake(data_dir / "lake", ports["flight"])
        wait_for(lambda: stands_still(lake), "recorded bars", watch=[up])
        yield lake
        lake.connection.close()
        assert up.drain() == 0
    finally:
        up.kill()


@pytest.fixture(scope="session")
def market(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("ticklake-market")
    up, ports = start_up(data_dir, ["--feed", f"replay={MARKET}"], data_dir / "up.log")
    try:
        market = Lake(data_dir / "lake", ports["flight"])
        wait_for(lambda: market.one("SELECT sum(trade_count) FROM gold.ohlcv_1m") == MARKET_TRADES, "recorded bars", watch=[up])
        yield market
        market.connection.close()
        assert up.drain() == 0
    finally:
        up.kill()


@pytest.fixture(scope="session")
def guarded(market, tmp_path_factory):
    guarded = Guarded(market.folder, tmp_path_factory.mktemp("guarded"))
    try:
        yield guarded
        assert guarded.server.drain() == 0
    finally:
        guarded.server.kill()


@pytest.fixture(scope="session")
def slow_server(market, tmp_path_factory):
    slow = SlowServer(market.folder, tmp_path_factory.mktemp("slow"))
    try:
        yield slow
        assert slow.server.drain() == 0
    finally:
        slow.server.kill()


def simulate(data_dir):
    """Fills the folder, and shows on the way that bars appear and grow, and that SIGTERM ends with 0."""
    up, ports = start_up(data_dir, ["--feed", "sim", "--seed", "7", "--rate", "2000"], data_dir / "up-sim.log")
    try:
        lake = Lake(data_dir / "lake", ports["flight"])
        trades = "SELECT sum(trade_count) FROM gold.ohlcv_1m"
        wait_for(lambda: lake.one(trades), "first bars", watch=[up])
        wait_for(lambda: lake.one(trades) >= SIMULATED_TRADES, "more bars", watch=[up])
        lake.connection.close()
        assert up.drain() == 0
    finally:
        up.kill()


def stands_still(lake):
    recorded = lake.one("SELECT count(*) FROM silver.trades WHERE source = 'replay'")
    assert recorded == RECORDED_TRADES, f"{recorded} recorded trades"
    bars = lake.one("SELECT sum(trade_count) FROM gold.ohlcv_1m")
    trades = lake.one("SELECT sum(count) FROM silver.trades WHERE kind = 'trade'")
    assert bars == trades, f"{bars} trades in bars, {trades} in silver"
    return True

from decimal import Decimal

import deltalake
import duckdb
import pyarrow
import pytest

import ticklake

ROWS = pyarrow.table({"symbol": ["BTC-USDT", "ETH-USDT"], "open": pyarrow.array([Decimal("1.5"), Decimal("2.5")], pyarrow.decimal128(28, 12))})


@pytest.fixture
def lake(tmp_path):
    path = tmp_path / "gold/ohlcv_1m"
    deltalake.write_deltalake(str(path), ROWS.slice(0, 1))
    deltalake.write_deltalake(str(path), ROWS.slice(1, 1), mode="append")
    return ticklake.Lake(tmp_path)


def test_every_reader_gets_the_rows(lake):
    expected = ROWS.to_pylist()
    assert pyarrow.table(lake.delta("gold.ohlcv_1m").to_pyarrow_table().sort_by("symbol")).to_pylist() == expected
    assert lake.polars("gold.ohlcv_1m").sort("symbol").collect().to_dicts() == expected
    assert lake.duckdb("gold.ohlcv_1m", connection=duckdb.connect()).order("symbol").to_arrow_table().to_pylist() == expected


def test_a_version_is_read_as_it_was(lake):
    assert lake.delta("gold.ohlcv_1m", version=0).to_pyarrow_table().num_rows == 1
    assert lake.polars("gold.ohlcv_1m", version=0).collect().height == 1


@pytest.mark.parametrize("name", ["ohlcv_1m", "gold/ohlcv_1m", "gold.../x", "iron.trades"])
def test_a_wrong_name_says_what_is_right(lake, name):
    with pytest.raises(ValueError, match=r"gold\.ohlcv_1m"):
        lake.path(name)


def test_paths_in_a_bucket():
    assert ticklake.Lake("s3://bucket/lake/").path("silver.trades") == "s3://bucket/lake/silver/trades"

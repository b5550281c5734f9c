"""What a driver's user relies on beside the rows: types, parameters, refusals."""

import adbc_driver_manager
import pyarrow
import pytest


def test_types_are_ones_that_every_client_reads(lake):
    schema = lake.sql("SELECT * FROM gold.ohlcv_1m LIMIT 0").schema
    assert schema.field("symbol").type == pyarrow.utf8()
    assert schema.field("open").type == pyarrow.decimal128(28, 12)
    assert schema.field("window_start").type == pyarrow.timestamp("us", "UTC")


def test_parameters_are_bound(lake):
    want = lake.one("SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = 'BTC-USDT'")
    for placeholder in ("?", "$1"):
        counted = lake.sql(f"SELECT count(*) FROM gold.ohlcv_1m WHERE symbol = {placeholder}", ["BTC-USDT"])
        assert counted.column(0)[0].as_py() == want > 0


def test_the_catalog_lists_the_tables(lake):
    catalogs = lake.connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    schemas = {s["db_schema_name"]: s for c in catalogs if c["catalog_name"] == "ticklake" for s in c["catalog_db_schemas"]}
    gold = {t["table_name"] for t in schemas["gold"]["db_schema_tables"]}
    assert {"ohlcv_1m", "ohlcv_5m"} <= gold
    assert {"bronze", "silver", "gold"} <= set(schemas)


@pytest.mark.parametrize("statement", ["DROP TABLE gold.ohlcv_1m", "INSERT INTO gold.ohlcv_1m SELECT * FROM gold.ohlcv_1m", "SELECT 1; SELECT 2"])
def test_writing_is_refused(lake, statement):
    with pytest.raises(adbc_driver_manager.Error) as refused:
        lake.sql(statement)
    assert "panic" not in str(refused.value)
    assert lake.one("SELECT count(*) FROM gold.ohlcv_1m") > 0


def test_a_missing_table_is_named(lake):
    with pytest.raises(adbc_driver_manager.Error, match="no_such_table"):
        lake.sql("SELECT * FROM gold.no_such_table")

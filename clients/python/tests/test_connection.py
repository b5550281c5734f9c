from decimal import Decimal

import pyarrow
import pytest

import ticklake

TABLE = pyarrow.table({"open": pyarrow.array([Decimal("0.100000000001")], pyarrow.decimal128(28, 12)), "n": [1]})


def test_rows_stay_exact():
    result = ticklake.Result(TABLE)
    assert len(result) == 1
    assert result.to_arrow() is TABLE
    assert result.to_polars()["open"][0] == Decimal("0.100000000001")
    assert result.to_pandas()["open"].iloc[0] == Decimal("0.100000000001")


def test_floats_are_asked_for():
    frame = ticklake.Result(TABLE).to_pandas(decimals="float")
    assert str(frame["open"].dtype) == "float64"
    assert frame["open"].iloc[0] == 0.100000000001


def test_floats_are_the_nearest():
    prices = ["143.55", "2059.1", "0.000000000001", "64231.12"]
    table = pyarrow.table({"open": pyarrow.array([Decimal(price) for price in prices], pyarrow.decimal128(28, 12))})
    assert ticklake.Result(table).to_pandas(decimals="float")["open"].tolist() == [float(price) for price in prices]


def test_contradictions_are_errors():
    with pytest.raises(ValueError, match="contradicts"):
        ticklake.connect("grpc://127.0.0.1:1", tls=True)

# %% [markdown]
# # Bars from a notebook
# Read-only. Two ways to the same rows: from the running server over Arrow Flight SQL, and from the lake's folder without any server.
# Needs `pip install adbc-driver-flightsql pyarrow polars deltalake`. Start `ticklake up` first.

# %%
import sys

import adbc_driver_flightsql.dbapi
import polars as pl

lake = sys.argv[1] if len(sys.argv) > 2 else "ticklake-data/lake"
server = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:50051"

# %% [markdown]
# ## From the server
# Prices and volumes arrive as exact decimals, times in UTC.

# %%
connection = adbc_driver_flightsql.dbapi.connect(f"grpc://{server}", autocommit=True)
latest = pl.read_database(
    "SELECT symbol, window_start, open, high, low, close, volume FROM gold.ohlcv_1m ORDER BY window_start DESC, symbol LIMIT 10",
    connection,
)
connection.close()
print(latest)

# %% [markdown]
# ## From the folder
# The tables are plain Delta tables: any Delta reader opens them, on local disk or on S3.

# %%
bars = pl.scan_delta(f"{lake}/gold/ohlcv_1m")
by_symbol = (
    bars.group_by("symbol")
    .agg(
        pl.len().alias("bars"),
        pl.col("trade_count").sum().alias("trades"),
        pl.col("quote_volume").sum(),
        pl.col("high").max(),
        pl.col("low").min(),
    )
    .sort("symbol")
    .collect()
)
pl.Config.set_tbl_rows(50)
print(by_symbol)

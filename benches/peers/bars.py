"""One-minute bars of the same files by DuckDB, Polars and chDB, compared bar for bar with ours.

usage: bars.py DIR [RUNS]    DIR as `cargo bench --workspace --bench bars` leaves it: silver/trades and bars.parquet

Every peer computes the exact answer: open and close by (ts, seq), which no two trades of a symbol share, packed into one 128-bit key where
that is the peer's quickest way; sums as decimals wide enough to be exact. The peers are spared vwap and avg_price, which ours computes: their
decimal division does not round half to even. One JSON line a peer; exit code 1 where bars differ.
"""

import glob
import json
import statistics
import sys
import time

THREADS = 2


def duckdb_bars(files):
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS})
    connection.execute("SET TimeZone = 'UTC'")
    sql = f"""
        SELECT venue, symbol, time_bucket(INTERVAL '1 minute', ts) AS window_start,
               arg_min(price, key) AS open, max(price) AS high, min(price) AS low, arg_max(price, key) AS close,
               sum(qty) AS volume, sum(quote) AS quote_volume, sum(count) AS trade_count,
               sum(qty) FILTER (WHERE side = 'buy') AS taker_buy_volume, sum(quote) FILTER (WHERE side = 'buy') AS taker_buy_quote_volume,
               min(key) AS first_key, max(key) AS last_key
        FROM (SELECT venue, symbol, ts, price, qty, side, count,
                     epoch_us(ts)::HUGEINT * 18446744073709551616 + seq AS key,
                     price::DECIMAL(18,12) * qty::DECIMAL(18,10) AS quote
              FROM read_parquet({files!r}) WHERE kind = 'trade')
        GROUP BY ALL
    """

    def run():
        return connection.sql(sql).to_arrow_table()

    def normal(table):
        rows = {}
        for row in table.to_pylist():
            rows[row["venue"], row["symbol"], micros(row["window_start"])] = (
                row["open"], row["high"], row["low"], row["close"], row["volume"], row["quote_volume"], row["trade_count"],
                row["taker_buy_volume"] or 0, row["taker_buy_quote_volume"] or 0, int(row["first_key"]) & (2**64 - 1), int(row["last_key"]) & (2**64 - 1),
            )
        return rows

    return duckdb.__version__, run, normal


def polars_bars(files):
    import os

    os.environ["POLARS_MAX_THREADS"] = str(THREADS)
    import polars as pl

    key = pl.col("ts").dt.epoch("us").cast(pl.Int128) * 2**64 + pl.col("seq")
    buy = pl.col("side") == "buy"
    scan = pl.scan_parquet(files).filter(pl.col("kind") == "trade")
    price, qty = unscaled(pl, "price", 12), unscaled(pl, "qty", 10)
    query = (
        scan.select("venue", "symbol", "ts", "seq", price.alias("price"), qty.alias("qty"), buy.alias("buy"), "count", key.alias("key"))
        .with_columns((pl.col("price") * pl.col("qty")).alias("quote"), pl.col("ts").dt.truncate("1m").alias("window_start"))
        .group_by("venue", "symbol", "window_start")
        .agg(
            pl.col("price").min_by("key").alias("open") if hasattr(pl.Expr, "min_by") else pl.col("price").sort_by("key").first().alias("open"),
            pl.col("price").max().alias("high"),
            pl.col("price").min().alias("low"),
            pl.col("price").max_by("key").alias("close") if hasattr(pl.Expr, "max_by") else pl.col("price").sort_by("key").last().alias("close"),
            pl.col("qty").sum().alias("volume"),
            pl.col("quote").sum().alias("quote_volume"),
            pl.col("count").sum().alias("trade_count"),
            (pl.col("qty") * pl.col("buy")).sum().alias("taker_buy_volume"),
            (pl.col("quote") * pl.col("buy")).sum().alias("taker_buy_quote_volume"),
            pl.col("key").min().alias("first_key"),
            pl.col("key").max().alias("last_key"),
        )
    )

    def run():
        return query.collect(engine="streaming")

    def normal(frame):
        from decimal import Decimal

        scaled = lambda value, scale: Decimal(int(value)).scaleb(-scale)
        rows = {}
        for row in frame.iter_rows(named=True):
            rows[row["venue"], row["symbol"], micros(row["window_start"])] = (
                *(scaled(row[name], 12) for name in ("open", "high", "low", "close")),
                scaled(row["volume"], 10), scaled(row["quote_volume"], 22), row["trade_count"],
                scaled(row["taker_buy_volume"], 10), scaled(row["taker_buy_quote_volume"], 22),
                int(row["first_key"]) & (2**64 - 1), int(row["last_key"]) & (2**64 - 1),
            )
        return rows

    return pl.__version__, run, normal


def unscaled(pl, column, scale):
    """The decimal's integer in 128 bits: Polars has no exact product of two decimals of these scales."""
    return pl.col(column).to_physical().cast(pl.Int128)


def chdb_bars(files):
    import chdb
    import pyarrow as pa

    folder = files[0].rsplit("/", 2)[0]
    sql = f"""
        SELECT venue, symbol, toStartOfMinute(ts) AS window_start,
               argMin(price, key) AS open, max(price) AS high, min(price) AS low, argMax(price, key) AS close,
               sum(toDecimal128(qty, 10)) AS volume, sum(quote) AS quote_volume, sum(count) AS trade_count,
               sumIf(toDecimal128(qty, 10), side = 'buy') AS taker_buy_volume, sumIf(quote, side = 'buy') AS taker_buy_quote_volume,
               toString(bitAnd(min(key), toUInt128(18446744073709551615))) AS first_seq, toString(bitAnd(max(key), toUInt128(18446744073709551615))) AS last_seq
        FROM (SELECT venue, symbol, ts, price, qty, side, count,
                     bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Micro(ts)), 64), toUInt128(seq)) AS key,
                     toDecimal128(price, 12) * toDecimal128(qty, 10) AS quote
              FROM file('{folder}/**/*.parquet', Parquet) WHERE kind = 'trade')
        GROUP BY venue, symbol, window_start
        SETTINGS max_threads = {THREADS}, session_timezone = 'UTC'
    """

    def run():
        return chdb.query(sql, "ArrowTable")

    def normal(table):
        rows = {}
        for row in (table if isinstance(table, pa.Table) else pa.table(table)).to_pylist():
            text = lambda value: value.decode() if isinstance(value, bytes) else value
            rows[text(row["venue"]), text(row["symbol"]), micros(row["window_start"])] = (
                row["open"], row["high"], row["low"], row["close"], row["volume"], row["quote_volume"], row["trade_count"],
                row["taker_buy_volume"], row["taker_buy_quote_volume"], int(text(row["first_seq"])), int(text(row["last_seq"])),
            )
        return rows

    return chdb.__version__, run, normal


def micros(moment):
    import datetime

    if isinstance(moment, int):
        return moment * 1_000_000
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (moment - epoch) // datetime.timedelta(microseconds=1)


def our_bars(path):
    import pyarrow.parquet as pq

    import pyarrow as pa

    table = pq.read_table(path)
    at = table.schema.get_field_index("window_start")
    table = table.set_column(at, "window_start", table["window_start"].cast(pa.timestamp("us", "UTC")))
    rows = {}
    for row in table.to_pylist():
        rows[row["venue"], row["symbol"], micros(row["window_start"])] = (
            row["open"], row["high"], row["low"], row["close"], row["volume"], row["quote_volume"], row["trade_count"],
            row["taker_buy_volume"], row["taker_buy_quote_volume"], row["first_seq"], row["last_seq"],
        )
    return rows


def main():
    folder, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 9
    files = sorted(glob.glob(f"{folder}/silver/trades/**/*.parquet", recursive=True))
    files = [file for file in files if "_delta_log" not in file]
    ours = our_bars(f"{folder}/bars.parquet")
    differ = False
    for name, peer in (("polars", polars_bars), ("duckdb", duckdb_bars), ("chdb", chdb_bars)):
        version, run, normal = peer(files)
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            result = run()
            seconds.append(time.perf_counter() - started)
        theirs = normal(result)
        wrong = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
        differ |= bool(wrong)
        print(json.dumps({
            "bench": "bars", "figure": "bars_1m", "engine": name, "version": version, "bars": len(theirs), "threads": THREADS, "runs": runs,
            "median_s": round(statistics.median(seconds), 4), "best_s": round(min(seconds), 4), "bars_that_differ": len(wrong),
        }), flush=True)
        for key in sorted(wrong)[:2]:
            print(key, "ours", ours.get(key), "theirs", theirs.get(key), file=sys.stderr)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()

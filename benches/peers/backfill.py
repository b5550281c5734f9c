"""A zip of Binance-style trades to the two outputs of a backfill by DuckDB and Polars: bronze as read, silver sorted.

usage: backfill.py ZIP FOLDER [RUNS]    ZIP as `cargo bench --workspace --bench backfill` leaves it

Bronze is the line and its columns as text beside the constants of the file; silver is exact decimals with their product, sorted by (symbol, ts,
seq), both Parquet with zstd level 1, as ours. Another process inflates with zlib-ng and feeds a pipe. The peers are spared commits, statistics
tags, durability, repeats and every check but that of types; the line is put together again from its columns, which costs less than to keep it.
One JSON line a peer, each run in a process of its own, so that peak memory is that of one.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

THREADS = 2
COLUMNS = ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"]
SYMBOL = "BTC-USDT"


def inflate(archive, out):
    """The one entry of a zip with a data descriptor, to a file descriptor."""
    from zlib_ng import zlib_ng

    with open(archive, "rb") as source:
        header = source.read(30)
        source.seek(30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"))
        inflater = zlib_ng.decompressobj(-15)
        while not inflater.eof:
            text = memoryview(inflater.decompress(source.read(1 << 18)))
            while text:
                text = text[os.write(out, text) :]


def duckdb_outputs(text, folder):
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": True})
    connection.execute("SET TimeZone = 'UTC'")
    names = ", ".join(f"'{name}': 'VARCHAR'" for name in COLUMNS)
    line = " || ',' || ".join(COLUMNS)
    zstd = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
    connection.execute(f"""
        CREATE TABLE raw AS SELECT * FROM read_csv('/dev/fd/{text}', header = false, columns = {{{names}}}, parallel = true, quote = '', escape = '')
    """)
    side = "CASE is_buyer_maker WHEN 'True' THEN 'sell' WHEN 'False' THEN 'buy' END"
    connection.execute(f"""
        COPY (
            SELECT 'file' AS origin, 'file:0' AS topic, 0 AS partition, row_number() OVER () AS "offset", {line} AS payload,
                   'binance-spot' AS venue, '{SYMBOL}' AS symbol, 'trade' AS kind, id AS trade_id, id::BIGINT AS seq, price, qty,
                   {side} AS side, make_timestamptz(time::BIGINT) AS ts, make_timestamptz(time::BIGINT) AS received_at,
                   'import' AS source, 1::BIGINT AS count, now() AS ingested_at
            FROM raw
        ) TO '{folder}/bronze.parquet' ({zstd})
    """)
    connection.execute(f"""
        COPY (
            SELECT 'binance-spot' AS venue, '{SYMBOL}' AS symbol, 'trade' AS kind, id AS trade_id, id::BIGINT AS seq,
                   make_timestamptz(time::BIGINT) AS ts, make_timestamptz(time::BIGINT) AS received_at,
                   price::DECIMAL(28,12) AS price, qty::DECIMAL(28,10) AS qty, {side} AS side,
                   (price::DECIMAL(20,8) * qty::DECIMAL(18,8))::DECIMAL(38,22) AS quote_qty, 1::BIGINT AS count, 'import' AS source
            FROM raw ORDER BY symbol, ts, seq
        ) TO '{folder}/silver.parquet' ({zstd})
    """)
    return connection.sql(f"SELECT count(*) FROM '{folder}/silver.parquet'").fetchone()[0], duckdb.__version__


def polars_outputs(text, folder):
    import polars as pl

    # There is no lazy scan of a pipe.
    raw = pl.read_csv(
        os.fdopen(text, "rb"), has_header=False, new_columns=COLUMNS, schema_overrides=[pl.String] * len(COLUMNS), quote_char=None
    ).lazy()
    literal = {
        name: pl.lit(value)
        for name, value in {"venue": "binance-spot", "symbol": SYMBOL, "kind": "trade", "source": "import"}.items()
    }
    ts = pl.from_epoch(pl.col("time").cast(pl.Int64), "us").dt.replace_time_zone("UTC")
    side = pl.when(pl.col("is_buyer_maker") == "True").then(pl.lit("sell")).otherwise(pl.lit("buy"))
    same = {
        **literal,
        "trade_id": pl.col("id"),
        "seq": pl.col("id").cast(pl.Int64),
        "side": side,
        "ts": ts,
        "received_at": ts,
        "count": pl.lit(1, pl.Int64),
    }
    bronze = raw.select(
        origin=pl.lit("file"),
        topic=pl.lit("file:0"),
        partition=pl.lit(0, pl.Int32),
        offset=pl.int_range(1, pl.len() + 1),
        payload=pl.concat_str(COLUMNS, separator=","),
        price="price",
        qty="qty",
        ingested_at=pl.lit(time.time_ns() // 1000).cast(pl.Datetime("us", "UTC")),
        **same,
    )
    price, qty = pl.col("price").cast(pl.Decimal(28, 12)), pl.col("qty").cast(pl.Decimal(28, 10))
    quote = pl.col("price").cast(pl.Decimal(18, 8)) * pl.col("qty").cast(pl.Decimal(18, 8))
    silver = raw.select(price=price, qty=qty, quote_qty=quote, **same).sort("symbol", "ts", "seq")
    bronze.sink_parquet(f"{folder}/bronze.parquet", compression="zstd", compression_level=1)
    silver.sink_parquet(f"{folder}/silver.parquet", compression="zstd", compression_level=1)
    return pl.scan_parquet(f"{folder}/silver.parquet").select(pl.len()).collect().item(), pl.__version__


PEERS = {"duckdb": duckdb_outputs, "polars": polars_outputs}


def one(peer, archive, folder):
    """A run in this process, the inflating one a child of it."""
    os.environ["POLARS_MAX_THREADS"] = str(THREADS)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    started = time.monotonic()
    read, write = os.pipe()
    child = subprocess.Popen([sys.executable, __file__, "inflate", archive, str(write)], pass_fds=[write])
    os.close(write)
    rows, version = PEERS[peer](read, folder)
    seconds = time.monotonic() - started
    if child.wait() != 0:
        sys.exit("the archive could not be inflated")
    with open("/proc/self/status") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"rows": rows, "version": version, "seconds": seconds, "peak_mb": peak_kib // 1024}))


def main(archive, folder, runs=3):
    for peer in PEERS:
        lines = []
        for _ in range(int(runs)):
            run = subprocess.run([sys.executable, __file__, "one", peer, archive, folder], stdout=subprocess.PIPE, check=True)
            lines.append(json.loads(run.stdout))
        seconds = statistics.median(line["seconds"] for line in lines)
        rows = lines[0]["rows"]
        print(
            json.dumps(
                {
                    "bench": "backfill",
                    "engine": peer,
                    "version": lines[0]["version"],
                    "rows": rows,
                    "threads": THREADS,
                    "runs": len(lines),
                    "median_s": round(seconds, 3),
                    "rows_per_s": round(rows / seconds),
                    "peak_mb": max(line["peak_mb"] for line in lines),
                }
            )
        )
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1] == "inflate":
        inflate(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "one":
        one(*sys.argv[2:])
    else:
        main(*sys.argv[1:])

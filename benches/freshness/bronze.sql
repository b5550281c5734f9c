-- The trades of every bronze commit after the newest one seen. One ingest instance stamps a commit's rows with one time, each later than the last.
SELECT partition, "offset", symbol, ts, seq, received_at, ingested_at
FROM bronze.trades
WHERE ingested_at > ?

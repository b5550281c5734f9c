-- parquet: files whose columns are named as those of bronze.trades, in any types; the optional ones may be missing. The payload is the row
-- as JSON.
-- reads: parquet
-- ts, received_at: timestamps, or integers of microseconds since the epoch, UTC.
SELECT
  coalesce(venue, $venue) AS venue,
  coalesce(symbol, $symbol) AS symbol,
  coalesce(kind, 'trade') AS kind,
  coalesce(CAST(trade_id AS VARCHAR), $connection || '-' || CAST(line AS VARCHAR) || '-0') AS trade_id,
  coalesce(CAST(seq AS BIGINT), line) AS seq,
  CAST(price AS VARCHAR) AS price,
  CAST(qty AS VARCHAR) AS qty,
  side,
  ts,
  received_at,
  conditions,
  ref_trade_id,
  coalesce(CAST(count AS BIGINT), 1) AS count,
  CAST(first_id AS BIGINT) AS first_id,
  CAST(last_id AS BIGINT) AS last_id
FROM raw

-- jsonl: one JSON object a line whose keys are the columns of bronze.trades; the optional ones may be missing.
-- reads: jsonl
-- ts, received_at: microseconds since the epoch, UTC, or RFC 3339 text.
SELECT
  coalesce(venue, $venue) AS venue,
  coalesce(symbol, $symbol) AS symbol,
  coalesce(kind, 'trade') AS kind,
  coalesce(trade_id, $connection || '-' || CAST(line AS VARCHAR) || '-0') AS trade_id,
  coalesce(CAST(seq AS BIGINT), line) AS seq,
  price,
  qty,
  side,
  CASE WHEN ts LIKE '%:%' THEN CAST(ts AS TIMESTAMP) ELSE to_timestamp_micros(CAST(ts AS BIGINT)) END AS ts,
  CASE
    WHEN received_at LIKE '%:%' THEN CAST(received_at AS TIMESTAMP)
    ELSE to_timestamp_micros(CAST(received_at AS BIGINT))
  END AS received_at,
  json_texts(conditions) AS conditions,
  ref_trade_id,
  coalesce(CAST(count AS BIGINT), 1) AS count,
  CAST(first_id AS BIGINT) AS first_id,
  CAST(last_id AS BIGINT) AS last_id
FROM raw

-- What a rebuild changes in a range of silver.trades.
-- grain: one row: rows of either side, rows added, removed and changed, and how often each column changed.
-- inputs: before (the range as it stands), after (as rebuilt).
WITH paired AS (
  SELECT
    before.venue IS NULL AS is_added,
    after.venue IS NULL AS is_removed,
    before.seq IS DISTINCT FROM after.seq AS seq,
    before.ts IS DISTINCT FROM after.ts AS ts,
    before.price IS DISTINCT FROM after.price AS price,
    before.qty IS DISTINCT FROM after.qty AS qty,
    before.side IS DISTINCT FROM after.side AS side,
    before.received_at IS DISTINCT FROM after.received_at AS received_at,
    before.source IS DISTINCT FROM after.source AS source,
    coalesce(array_to_string(before.conditions, ','), '') <> coalesce(array_to_string(after.conditions, ','), '') AS conditions,
    before.ref_trade_id IS DISTINCT FROM after.ref_trade_id AS ref_trade_id,
    before.count IS DISTINCT FROM after.count AS count,
    before.first_id IS DISTINCT FROM after.first_id AS first_id,
    before.last_id IS DISTINCT FROM after.last_id AS last_id,
    (before.topic IS DISTINCT FROM after.topic)
      OR (before."partition" IS DISTINCT FROM after."partition")
      OR (before."offset" IS DISTINCT FROM after."offset") AS coordinates
  FROM before
  FULL JOIN after
    ON before.venue = after.venue
    AND before.symbol = after.symbol
    AND before.kind = after.kind
    AND before.trade_id = after.trade_id
)
SELECT
  count(*) FILTER (WHERE NOT is_added) AS rows_before,
  count(*) FILTER (WHERE NOT is_removed) AS rows_after,
  count(*) FILTER (WHERE is_added) AS added,
  count(*) FILTER (WHERE is_removed) AS removed,
  count(*) FILTER (
    WHERE NOT is_added AND NOT is_removed
      AND (seq OR ts OR price OR qty OR side OR received_at OR source OR conditions OR ref_trade_id OR count OR first_id OR last_id OR coordinates)
  ) AS changed,
  count(*) FILTER (WHERE seq AND NOT is_added AND NOT is_removed) AS seq,
  count(*) FILTER (WHERE ts AND NOT is_added AND NOT is_removed) AS ts,
  count(*) FILTER (WHERE price AND NOT is_added AND NOT is_removed) AS price,
  count(*) FILTER (WHERE qty AND NOT is_added AND NOT is_removed) AS qty,
  count(*) FILTER (WHERE side AND NOT is_added AND NOT is_removed) AS side,
  count(*) FILTER (WHERE received_at AND NOT is_added AND NOT is_removed) AS received_at,
  count(*) FILTER (WHERE source AND NOT is_added AND NOT is_removed) AS source,
  count(*) FILTER (WHERE conditions AND NOT is_added AND NOT is_removed) AS conditions,
  count(*) FILTER (WHERE ref_trade_id AND NOT is_added AND NOT is_removed) AS ref_trade_id,
  count(*) FILTER (WHERE count AND NOT is_added AND NOT is_removed) AS count,
  count(*) FILTER (WHERE first_id AND NOT is_added AND NOT is_removed) AS first_id,
  count(*) FILTER (WHERE last_id AND NOT is_added AND NOT is_removed) AS last_id,
  count(*) FILTER (WHERE coordinates AND NOT is_added AND NOT is_removed) AS coordinates
FROM paired

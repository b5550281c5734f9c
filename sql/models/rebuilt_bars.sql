-- What a rebuild changes in a range of gold.ohlcv_<interval>; revision and computed_at say nothing of trades and are not compared.
-- grain: one row: bars of either side, bars added, removed and changed, and how often each column changed.
-- inputs: before (the range as it stands), after (as rebuilt).
WITH paired AS (
  SELECT
    before.venue IS NULL AS is_added,
    after.venue IS NULL AS is_removed,
    before.window_end IS DISTINCT FROM after.window_end AS window_end,
    before.open IS DISTINCT FROM after.open AS open,
    before.high IS DISTINCT FROM after.high AS high,
    before.low IS DISTINCT FROM after.low AS low,
    before.close IS DISTINCT FROM after.close AS close,
    before.volume IS DISTINCT FROM after.volume AS volume,
    before.quote_volume IS DISTINCT FROM after.quote_volume AS quote_volume,
    before.vwap IS DISTINCT FROM after.vwap AS vwap,
    before.avg_price IS DISTINCT FROM after.avg_price AS avg_price,
    before.trade_count IS DISTINCT FROM after.trade_count AS trade_count,
    before.taker_buy_volume IS DISTINCT FROM after.taker_buy_volume AS taker_buy_volume,
    before.taker_buy_quote_volume IS DISTINCT FROM after.taker_buy_quote_volume AS taker_buy_quote_volume,
    before.first_seq IS DISTINCT FROM after.first_seq AS first_seq,
    before.last_seq IS DISTINCT FROM after.last_seq AS last_seq,
    before.first_ts IS DISTINCT FROM after.first_ts AS first_ts,
    before.last_ts IS DISTINCT FROM after.last_ts AS last_ts,
    before.is_closed IS DISTINCT FROM after.is_closed AS is_closed,
    before.is_complete IS DISTINCT FROM after.is_complete AS is_complete
  FROM before
  FULL JOIN after
    ON before.venue = after.venue AND before.symbol = after.symbol AND before.window_start = after.window_start
)
SELECT
  count(*) FILTER (WHERE NOT is_added) AS rows_before,
  count(*) FILTER (WHERE NOT is_removed) AS rows_after,
  count(*) FILTER (WHERE is_added) AS added,
  count(*) FILTER (WHERE is_removed) AS removed,
  count(*) FILTER (
    WHERE NOT is_added AND NOT is_removed
      AND (window_end OR open OR high OR low OR close OR volume OR quote_volume OR vwap OR avg_price
        OR trade_count OR taker_buy_volume OR taker_buy_quote_volume OR first_seq OR last_seq OR first_ts OR last_ts OR is_closed OR is_complete)
  ) AS changed,
  count(*) FILTER (WHERE window_end AND NOT is_added AND NOT is_removed) AS window_end,
  count(*) FILTER (WHERE open AND NOT is_added AND NOT is_removed) AS open,
  count(*) FILTER (WHERE high AND NOT is_added AND NOT is_removed) AS high,
  count(*) FILTER (WHERE low AND NOT is_added AND NOT is_removed) AS low,
  count(*) FILTER (WHERE close AND NOT is_added AND NOT is_removed) AS close,
  count(*) FILTER (WHERE volume AND NOT is_added AND NOT is_removed) AS volume,
  count(*) FILTER (WHERE quote_volume AND NOT is_added AND NOT is_removed) AS quote_volume,
  count(*) FILTER (WHERE vwap AND NOT is_added AND NOT is_removed) AS vwap,
  count(*) FILTER (WHERE avg_price AND NOT is_added AND NOT is_removed) AS avg_price,
  count(*) FILTER (WHERE trade_count AND NOT is_added AND NOT is_removed) AS trade_count,
  count(*) FILTER (WHERE taker_buy_volume AND NOT is_added AND NOT is_removed) AS taker_buy_volume,
  count(*) FILTER (WHERE taker_buy_quote_volume AND NOT is_added AND NOT is_removed) AS taker_buy_quote_volume,
  count(*) FILTER (WHERE first_seq AND NOT is_added AND NOT is_removed) AS first_seq,
  count(*) FILTER (WHERE last_seq AND NOT is_added AND NOT is_removed) AS last_seq,
  count(*) FILTER (WHERE first_ts AND NOT is_added AND NOT is_removed) AS first_ts,
  count(*) FILTER (WHERE last_ts AND NOT is_added AND NOT is_removed) AS last_ts,
  count(*) FILTER (WHERE is_closed AND NOT is_added AND NOT is_removed) AS is_closed,
  count(*) FILTER (WHERE is_complete AND NOT is_added AND NOT is_removed) AS is_complete
FROM paired

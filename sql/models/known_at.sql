-- Bars as they were known at an instant: the state of each that stood in gold then, whatever was corrected since.
-- grain: one row a (venue, symbol, window) that gold held at $at, with the values that it had.
-- inputs: gold.ohlcv (the bars of one interval as they stand), gold.ohlcv_revisions (earlier states of them).
-- parameters: $at (timestamp), $interval (text, as in the name of the table).
-- Of open bars the earlier states are kept with jobs.revisions = "all" only; otherwise a bar is known from when its last open state was computed. A later
-- state never shows.
SELECT
  venue, symbol, window_start, window_end, open, high, low, close, volume, quote_volume, vwap, avg_price, trade_count,
  taker_buy_volume, taker_buy_quote_volume, first_seq, last_seq, first_ts, last_ts, is_closed, is_complete, revision, computed_at, date
FROM gold.ohlcv
WHERE computed_at <= $at
UNION ALL
SELECT
  venue, symbol, window_start, window_end, open, high, low, close, volume, quote_volume, vwap, avg_price, trade_count,
  taker_buy_volume, taker_buy_quote_volume, first_seq, last_seq, first_ts, last_ts, is_closed, is_complete, revision, computed_at, date
FROM gold.ohlcv_revisions
WHERE bar_interval = $interval AND computed_at <= $at AND superseded_at > $at

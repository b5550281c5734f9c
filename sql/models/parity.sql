-- Our bars against a venue's own candles, field by field.
-- grain: one row a window and field in which the two differ; field 'bar' where only one of them has the window, with its number of trades.
-- inputs: bars (gold.ohlcv_<interval> of one venue and symbol within the candles' span; open ones are not compared), candles (the venue's, without empty ones; a
-- column that the venue does not give is NULL and not compared).
WITH paired AS (
  SELECT
    coalesce(bars.window_start, candles.window_start) AS window_start,
    bars.window_start IS NULL AS is_only_theirs,
    candles.window_start IS NULL AS is_only_ours,
    bars.open, bars.high, bars.low, bars.close, bars.volume, bars.quote_volume, bars.trade_count,
    bars.taker_buy_volume, bars.taker_buy_quote_volume,
    candles.open AS their_open, candles.high AS their_high, candles.low AS their_low, candles.close AS their_close,
    candles.volume AS their_volume, candles.quote_volume AS their_quote_volume, candles.trade_count AS their_trade_count,
    candles.taker_buy_volume AS their_taker_buy_volume, candles.taker_buy_quote_volume AS their_taker_buy_quote_volume
  FROM bars
  FULL JOIN candles ON bars.window_start = candles.window_start
  WHERE coalesce(bars.is_closed, true)
),
matched AS (
  SELECT * FROM paired WHERE NOT is_only_theirs AND NOT is_only_ours
)
SELECT window_start, 'bar' AS field, CAST(trade_count AS VARCHAR) AS ours, NULL AS theirs FROM paired WHERE is_only_ours
UNION ALL
SELECT window_start, 'bar', NULL, coalesce(CAST(their_trade_count AS VARCHAR), '') FROM paired WHERE is_only_theirs
UNION ALL
SELECT window_start, 'open', CAST(open AS VARCHAR), CAST(their_open AS VARCHAR) FROM matched WHERE open IS DISTINCT FROM their_open
UNION ALL
SELECT window_start, 'high', CAST(high AS VARCHAR), CAST(their_high AS VARCHAR) FROM matched WHERE high IS DISTINCT FROM their_high
UNION ALL
SELECT window_start, 'low', CAST(low AS VARCHAR), CAST(their_low AS VARCHAR) FROM matched WHERE low IS DISTINCT FROM their_low
UNION ALL
SELECT window_start, 'close', CAST(close AS VARCHAR), CAST(their_close AS VARCHAR) FROM matched WHERE close IS DISTINCT FROM their_close
UNION ALL
SELECT window_start, 'volume', CAST(volume AS VARCHAR), CAST(their_volume AS VARCHAR) FROM matched WHERE volume <> their_volume
UNION ALL
SELECT window_start, 'quote_volume', CAST(quote_volume AS VARCHAR), CAST(their_quote_volume AS VARCHAR)
FROM matched WHERE quote_volume <> their_quote_volume
UNION ALL
SELECT window_start, 'trade_count', CAST(trade_count AS VARCHAR), CAST(their_trade_count AS VARCHAR)
FROM matched WHERE trade_count <> their_trade_count
UNION ALL
SELECT window_start, 'taker_buy_volume', CAST(taker_buy_volume AS VARCHAR), CAST(their_taker_buy_volume AS VARCHAR)
FROM matched WHERE taker_buy_volume <> their_taker_buy_volume
UNION ALL
SELECT window_start, 'taker_buy_quote_volume', CAST(taker_buy_quote_volume AS VARCHAR), CAST(their_taker_buy_quote_volume AS VARCHAR)
FROM matched WHERE taker_buy_quote_volume <> their_taker_buy_quote_volume
ORDER BY window_start, field

-- A bar is a bar: its prices within low and high or all unknown, its times within the window, its takers' part within the whole. vwap may lie
-- outside: trades that set no price count for it.
-- returns: each bar that is not.
-- inputs: gold.ohlcv (the bars of one interval after the other).
SELECT venue, symbol, window_start
FROM gold.ohlcv
WHERE low > high
  OR open NOT BETWEEN low AND high
  OR close NOT BETWEEN low AND high
  OR (open IS NULL) <> (close IS NULL)
  OR (high IS NULL) <> (low IS NULL)
  OR (open IS NULL) <> (high IS NULL)
  OR (vwap IS NULL) <> (volume = CAST(0 AS DECIMAL(38,10)))
  OR volume < 0
  OR taker_buy_volume NOT BETWEEN 0 AND volume
  OR taker_buy_quote_volume < CAST(0 AS DECIMAL(38,22))
  OR taker_buy_quote_volume > quote_volume
  OR trade_count < 1
  OR revision < 1
  OR first_ts < window_start
  OR last_ts >= window_end
  OR first_ts > last_ts
  OR date <> CAST(window_start AS DATE)

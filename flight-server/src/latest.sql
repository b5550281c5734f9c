-- The newest bar of each venue and symbol. Its close is the price of the last trade, at last_ts.
-- Grain: venue, symbol. Input: gold.ohlcv_1m, or some of its files. Parameters: $1 the first window that is looked at.
WITH newest AS (
  SELECT venue, symbol, max(window_start) AS window_start
  FROM gold.ohlcv_1m
  WHERE window_start >= $1
  GROUP BY venue, symbol
)
SELECT bar.*, bar.close AS last_price
FROM gold.ohlcv_1m AS bar
JOIN newest ON bar.venue = newest.venue AND bar.symbol = newest.symbol AND bar.window_start = newest.window_start
WHERE bar.window_start >= $1

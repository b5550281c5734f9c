-- A window of a symbol has one bar.
-- returns: each key (venue, symbol, window_start) with more than one row, and how many.
-- inputs: gold.ohlcv (the bars of one interval after the other).
SELECT venue, symbol, window_start, count(*) AS copies
FROM gold.ohlcv
GROUP BY venue, symbol, window_start
HAVING count(*) > 1

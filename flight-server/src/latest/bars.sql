-- The bars of given windows.
-- Grain: venue, symbol. Inputs: gold.ohlcv_1m, or some of its files; latest.windows (venue, symbol, window_start).
SELECT bar.*
FROM gold.ohlcv_1m AS bar
JOIN latest.windows AS newest
  ON bar.venue = newest.venue AND bar.symbol = newest.symbol AND bar.window_start = newest.window_start

-- The newest window of each venue and symbol.
-- Grain: venue, symbol. Input: gold.ohlcv_1m, or some of its files.
SELECT venue, symbol, max(window_start) AS window_start
FROM gold.ohlcv_1m
GROUP BY venue, symbol

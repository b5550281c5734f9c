-- Bars close in order: none is open before a closed one of its venue.
-- returns: each open bar that a closed one follows.
-- inputs: gold.ohlcv (the bars of one interval after the other).
SELECT bars.venue, bars.symbol, bars.window_start
FROM gold.ohlcv AS bars
JOIN (
  SELECT venue, max(window_start) AS window_start
  FROM gold.ohlcv
  WHERE is_closed
  GROUP BY venue
) AS closed
  ON bars.venue = closed.venue
WHERE NOT bars.is_closed AND bars.window_start < closed.window_start

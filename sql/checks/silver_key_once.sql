-- A trade stands in silver once.
-- returns: each key (venue, symbol, kind, trade_id) with more than one row, and how many.
-- inputs: silver.trades.
SELECT venue, symbol, kind, trade_id, count(*) AS copies
FROM silver.trades
GROUP BY venue, symbol, kind, trade_id
HAVING count(*) > 1

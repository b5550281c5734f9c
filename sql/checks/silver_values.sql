-- What silver holds is valid: positive price and qty, their exact product, the date of its ts, fills that are counted.
-- returns: each row that is not, by its coordinates in bronze.
-- inputs: silver.trades.
SELECT venue, symbol, kind, trade_id, topic, "partition", "offset"
FROM silver.trades
WHERE kind IN ('trade', 'agg')
  AND (
    price <= 0
    OR qty <= 0
    OR quote_qty <> price * qty
    OR count < 1
    OR date <> CAST(ts AS DATE)
  )

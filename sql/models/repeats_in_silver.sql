-- Rows that repeat a row of silver: equal in key, price, qty, side and ts.
-- grain: one row of absent that has an equal row in kept.
-- inputs: absent (rows of bronze.trades that no table holds, as decimals; side '' where it is NULL), kept (silver.trades).
SELECT number
FROM absent
LEFT SEMI JOIN kept
  ON absent.venue = kept.venue
  AND absent.symbol = kept.symbol
  AND absent.kind = kept.kind
  AND absent.trade_id = kept.trade_id
  AND absent.ts = kept.ts
  AND absent.price = kept.price
  AND absent.qty = kept.qty
  AND absent.side = coalesce(kept.side, '')

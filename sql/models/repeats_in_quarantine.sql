-- Rows that repeat a conflicting repeat of quarantine: equal in key, price, qty, side and ts.
-- grain: one row of absent that has an equal row in kept.
-- inputs: absent (rows of bronze.trades that no table holds; price_text and qty_text shortest exact text, side '' where it is NULL),
-- kept (silver.quarantine, whose conflicting repeats spell price and qty the same way).
SELECT number
FROM absent
LEFT SEMI JOIN kept
  ON absent.venue = kept.venue
  AND absent.symbol = kept.symbol
  AND absent.kind = kept.kind
  AND absent.trade_id = kept.trade_id
  AND absent.ts = kept.ts
  AND absent.price_text = kept.price
  AND absent.qty_text = kept.qty
  AND absent.side = coalesce(kept.side, '')
  AND kept.rule = 'conflicting_repeat'

-- binance-aggtrades: aggregate trades of Binance's public archive, SYMBOL-aggTrades-YYYY-MM[-DD].zip of spot and of futures.
-- reads: csv
-- columns: agg_trade_id, price, quantity, first_trade_id, last_trade_id, transact_time, is_buyer_maker, is_best_match?
-- Stamps as in binance-trades. An aggregate counts its fills by their ids, which have no holes.
SELECT
  coalesce($venue, 'binance-spot') AS venue,
  coalesce($symbol, venue_symbol('binance', split_part($file_name, '-', 1))) AS symbol,
  'agg' AS kind,
  agg_trade_id AS trade_id,
  CAST(agg_trade_id AS BIGINT) AS seq,
  price,
  quantity AS qty,
  CASE is_buyer_maker
    WHEN 'True' THEN 'sell'
    WHEN 'False' THEN 'buy'
    WHEN 'true' THEN 'sell'
    WHEN 'false' THEN 'buy'
    ELSE is_buyer_maker
  END AS side,
  CASE
    WHEN CAST(transact_time AS BIGINT) >= 100000000000000 THEN CAST(transact_time AS BIGINT)
    ELSE CAST(transact_time AS BIGINT) * 1000
  END AS ts,
  CAST(last_trade_id AS BIGINT) - CAST(first_trade_id AS BIGINT) + 1 AS count,
  CAST(first_trade_id AS BIGINT) AS first_id,
  CAST(last_trade_id AS BIGINT) AS last_id
FROM raw

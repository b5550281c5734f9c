-- binance-trades: trades of Binance's public archive, SYMBOL-trades-YYYY-MM[-DD].zip of spot and of futures (`--venue binance-usdm`).
-- reads: csv
-- columns: id, price, qty, quote_qty, time, is_buyer_maker, is_best_match?
-- Spot stamps are milliseconds until 2024-12-31 and microseconds from then on; futures stay in milliseconds. 10^14 lies between the two
-- until the year 5138. quote_qty is cut to 8 decimals by the venue, so nothing is taken from it.
SELECT
  coalesce($venue, 'binance-spot') AS venue,
  coalesce($symbol, venue_symbol('binance', split_part($file_name, '-', 1))) AS symbol,
  'trade' AS kind,
  id AS trade_id,
  CAST(id AS BIGINT) AS seq,
  price,
  qty,
  CASE is_buyer_maker
    WHEN 'True' THEN 'sell'
    WHEN 'False' THEN 'buy'
    WHEN 'true' THEN 'sell'
    WHEN 'false' THEN 'buy'
    ELSE is_buyer_maker
  END AS side,
  CASE
    WHEN CAST(time AS BIGINT) >= 100000000000000 THEN CAST(time AS BIGINT)
    ELSE CAST(time AS BIGINT) * 1000
  END AS ts
FROM raw

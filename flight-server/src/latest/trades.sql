-- Bars with the trade that each of them ends with: the last of the bar's by (ts, seq, trade_id), as `ohlcv.sql` counts them.
-- Grain: that of latest.bars. Inputs: latest.bars (bars of gold.ohlcv_1m); silver.trades, those of its files that may hold the trades;
-- silver.amendments, those that may hold what cancels or corrects them.
-- A corrected trade takes over price, qty and side. Where silver no longer holds the trade, its price is the bar's close and the rest is NULL.
WITH amendments AS (
  SELECT venue, symbol, ref_trade_id, kind, price, qty, side
  FROM (
    SELECT
      venue, symbol, ref_trade_id, kind, price, qty, side,
      row_number() OVER (PARTITION BY venue, symbol, ref_trade_id ORDER BY ts DESC, seq DESC, trade_id DESC) AS age
    FROM silver.amendments
    WHERE kind IN ('cancel', 'correct') AND ref_trade_id IS NOT NULL
  )
  WHERE age = 1
),
ends AS (
  SELECT trade.venue, trade.symbol, trade.trade_id, trade.price, trade.qty, trade.side
  FROM silver.trades AS trade
  JOIN latest.bars AS bar
    ON trade.venue = bar.venue AND trade.symbol = bar.symbol AND trade.ts = bar.last_ts AND trade.seq = bar.last_seq
  WHERE trade.kind NOT IN ('cancel', 'correct')
),
effective AS (
  SELECT
    ends.venue,
    ends.symbol,
    ends.trade_id,
    CASE WHEN amendments.kind = 'correct' THEN amendments.price ELSE ends.price END AS price,
    CASE WHEN amendments.kind = 'correct' THEN amendments.qty ELSE ends.qty END AS qty,
    CASE WHEN amendments.kind = 'correct' THEN amendments.side ELSE ends.side END AS side
  FROM ends
  LEFT JOIN amendments
    ON ends.venue = amendments.venue AND ends.symbol = amendments.symbol AND ends.trade_id = amendments.ref_trade_id
  WHERE amendments.kind IS NULL OR amendments.kind = 'correct'
),
last AS (
  SELECT venue, symbol, trade_id, price, qty, side
  FROM (SELECT *, row_number() OVER (PARTITION BY venue, symbol ORDER BY trade_id DESC) AS place FROM effective)
  WHERE place = 1
)
SELECT
  bar.*,
  coalesce(last.price, bar.close) AS last_price,
  last.qty AS last_qty,
  last.side AS last_side,
  last.trade_id AS last_trade_id
FROM latest.bars AS bar
LEFT JOIN last ON bar.venue = last.venue AND bar.symbol = last.symbol

-- Bars of one interval, recomputed from silver.
-- grain: one row a (venue, symbol, window) with a trade in [$from, $until); every column but the key is NULL where a sum does not fit its column.
-- inputs: silver.trades (every trade of the windows asked for, with `counts_for`: which prices of its bar it may set), silver.amendments (cancels and corrections that may name one of them).
-- parameters: $interval (text, e.g. '1 minute'), $origin (timestamp: a window starts here), $kind (the kind that bars of these venues are made of), $from and $until (timestamps, whole windows).
-- An amendment names its trade by ref_trade_id; of several the last by (ts, seq, trade_id) counts. A cancelled trade is gone, a corrected one keeps
-- its place in time and what it counts for, and takes over price, qty, side and count.
WITH amendments AS (
  SELECT venue, symbol, ref_trade_id, kind, price, qty, side, count
  FROM (
    SELECT
      venue, symbol, ref_trade_id, kind, price, qty, side, count,
      row_number() OVER (PARTITION BY venue, symbol, ref_trade_id ORDER BY ts DESC, seq DESC, trade_id DESC) AS age
    FROM silver.amendments
    WHERE kind IN ('cancel', 'correct') AND ref_trade_id IS NOT NULL
  )
  WHERE age = 1
),
trades AS (
  SELECT venue, symbol, ts, seq, trade_id, price, qty, side, count, counts_for
  FROM silver.trades
  WHERE kind = $kind AND ts >= $from AND ts < $until
),
untouched AS (
  SELECT trades.*
  FROM trades
  LEFT ANTI JOIN amendments
    ON trades.venue = amendments.venue AND trades.symbol = amendments.symbol AND trades.trade_id = amendments.ref_trade_id
),
corrected AS (
  SELECT trades.venue, trades.symbol, trades.ts, trades.seq, trades.trade_id, amendments.price, amendments.qty, amendments.side, amendments.count,
    trades.counts_for
  FROM trades
  JOIN amendments
    ON trades.venue = amendments.venue AND trades.symbol = amendments.symbol AND trades.trade_id = amendments.ref_trade_id
  WHERE amendments.kind = 'correct'
),
effective AS (
  SELECT venue, symbol, ts, seq, trade_id, price, qty, side, count, counts_for FROM untouched
  UNION ALL
  SELECT venue, symbol, ts, seq, trade_id, price, qty, side, count, counts_for FROM corrected
),
bars AS (
  SELECT
    venue,
    symbol,
    date_bin(CAST($interval AS INTERVAL), ts, $origin) AS window_start,
    ohlcv(ts, seq, trade_id, price, qty, side, count, counts_for) AS bar
  FROM effective
  GROUP BY venue, symbol, date_bin(CAST($interval AS INTERVAL), ts, $origin)
)
SELECT
  venue,
  symbol,
  window_start,
  bar['open'] AS open,
  bar['high'] AS high,
  bar['low'] AS low,
  bar['close'] AS close,
  bar['volume'] AS volume,
  bar['quote_volume'] AS quote_volume,
  bar['vwap'] AS vwap,
  bar['avg_price'] AS avg_price,
  bar['trade_count'] AS trade_count,
  bar['taker_buy_volume'] AS taker_buy_volume,
  bar['taker_buy_quote_volume'] AS taker_buy_quote_volume,
  bar['first_seq'] AS first_seq,
  bar['last_seq'] AS last_seq,
  bar['first_ts'] AS first_ts,
  bar['last_ts'] AS last_ts,
  bar['row_count'] AS row_count,
  bar['price_sum'] AS price_sum,
  bar['priced_by'] AS priced_by
FROM bars

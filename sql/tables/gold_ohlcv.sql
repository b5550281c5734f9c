-- gold.ohlcv_<interval>: one bar per traded window, recomputed from silver whenever a trade of the window changes.
-- key: (venue, symbol, window_start). Windows are half-open, aligned to the Unix epoch, UTC. Only traded windows are stored.
-- One template for every interval: the name is the table's, the columns are these.
CREATE TABLE gold.ohlcv (
  venue                  STRING         NOT NULL COMMENT 'market, e.g. binance-spot',
  symbol                 STRING         NOT NULL COMMENT 'BASE-QUOTE, e.g. BTC-USDT',
  window_start           TIMESTAMP      NOT NULL COMMENT 'start of the window, inclusive, UTC',
  window_end             TIMESTAMP      NOT NULL COMMENT 'end of the window, exclusive, UTC',
  open                   DECIMAL(28,12)          COMMENT 'price of the first trade by (ts, seq, trade_id) that sets prices; NULL where none does',
  high                   DECIMAL(28,12)          COMMENT 'greatest price of trades that set prices; NULL where none does',
  low                    DECIMAL(28,12)          COMMENT 'least price of trades that set prices; NULL where none does',
  close                  DECIMAL(28,12)          COMMENT 'price of the last trade by (ts, seq, trade_id) that sets prices; NULL where none does',
  volume                 DECIMAL(38,10) NOT NULL COMMENT 'sum of qty, base units',
  quote_volume           DECIMAL(38,22) NOT NULL COMMENT 'sum of price x qty, quote units',
  vwap                   DECIMAL(38,12)          COMMENT 'quote_volume / volume, half-even; NULL at zero volume',
  avg_price              DECIMAL(38,12)          COMMENT 'sum of price over fills / trade_count, half-even: an aggregate counts its price once a fill',
  trade_count            BIGINT         NOT NULL COMMENT 'sum of count: fills',
  taker_buy_volume       DECIMAL(38,10) NOT NULL COMMENT 'sum of qty where the taker bought',
  taker_buy_quote_volume DECIMAL(38,22) NOT NULL COMMENT 'sum of price x qty where the taker bought',
  first_seq              BIGINT         NOT NULL COMMENT 'seq of the first trade',
  last_seq               BIGINT         NOT NULL COMMENT 'seq of the last trade',
  first_ts               TIMESTAMP      NOT NULL COMMENT 'ts of the first trade',
  last_ts                TIMESTAMP      NOT NULL COMMENT 'ts of the last trade',
  is_closed              BOOLEAN        NOT NULL COMMENT 'the venue''s watermark has passed window_end',
  is_complete            BOOLEAN                 COMMENT 'seq has no hole in the bar and to its neighbours; NULL where it cannot be told',
  revision               BIGINT         NOT NULL COMMENT '1 at first, one more at each change of the bar',
  computed_at            TIMESTAMP      NOT NULL COMMENT 'time of the computation, UTC',
  date                   DATE           NOT NULL COMMENT 'UTC date of window_start'
)
COMMENT 'one bar per traded window'
PARTITIONED BY (date)
CLUSTERED BY (symbol) SORTED BY (symbol, window_start) INTO 1 BUCKETS
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

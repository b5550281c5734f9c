-- gold.ohlcv_revisions: what bars said before they were corrected, and when that was true.
-- key: (bar_interval, venue, symbol, window_start, revision). The state that is true now stands in gold.ohlcv_<interval>.
-- Side table of every gold.ohlcv_<interval>: commits first, with a position of its own an interval.
CREATE TABLE gold.ohlcv_revisions (
  bar_interval           STRING         NOT NULL COMMENT 'of gold.ohlcv_<interval>, e.g. 1m',
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
  revision               BIGINT         NOT NULL COMMENT 'revision of the bar that this state was',
  computed_at            TIMESTAMP      NOT NULL COMMENT 'from when it was true, UTC',
  superseded_at          TIMESTAMP      NOT NULL COMMENT 'until when it was true, UTC',
  date                   DATE           NOT NULL COMMENT 'UTC date of window_start'
)
COMMENT 'earlier states of bars'
PARTITIONED BY (date)
CLUSTERED BY (symbol) SORTED BY (symbol, window_start) INTO 1 BUCKETS
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

-- silver.trades: valid trades, each once.
-- key: (venue, symbol, kind, trade_id). Of repeats the least (source rank, topic, partition, offset) survives.
-- source rank: live, repair, replay, sim, import.
CREATE TABLE silver.trades (
  venue        STRING         NOT NULL COMMENT 'market, e.g. binance-spot',
  symbol       STRING         NOT NULL COMMENT 'BASE-QUOTE, e.g. BTC-USDT',
  kind         STRING         NOT NULL COMMENT 'trade, agg, cancel or correct',
  trade_id     STRING         NOT NULL COMMENT 'the venue''s id, or <connection>-<frame>-<index>',
  seq          BIGINT         NOT NULL COMMENT 'orders the trades of one venue and symbol',
  ts           TIMESTAMP      NOT NULL COMMENT 'trade time, UTC',
  price        DECIMAL(28,12) NOT NULL COMMENT 'quote units for one base unit',
  qty          DECIMAL(28,10) NOT NULL COMMENT 'base units',
  quote_qty    DECIMAL(38,22) NOT NULL COMMENT 'price x qty, exact',
  side         STRING                  COMMENT 'taker side, buy or sell; NULL where the venue does not tell',
  received_at  TIMESTAMP      NOT NULL COMMENT 'arrival at the feed, UTC',
  source       STRING         NOT NULL COMMENT 'live, repair, replay, sim or import',
  conditions   ARRAY<STRING>           COMMENT 'sale conditions as the venue codes them',
  ref_trade_id STRING                  COMMENT 'what a cancel or a correction names',
  count        BIGINT         NOT NULL COMMENT 'fills in an aggregate, 1 otherwise',
  first_id     BIGINT                  COMMENT 'first fill of an aggregate',
  last_id      BIGINT                  COMMENT 'last fill of an aggregate',
  origin       STRING         NOT NULL COMMENT 'kafka or file',
  topic        STRING         NOT NULL COMMENT 'topic of the bronze row',
  partition    INT            NOT NULL COMMENT 'partition of the bronze row',
  offset       BIGINT         NOT NULL COMMENT 'offset of the bronze row',
  ingested_at  TIMESTAMP      NOT NULL COMMENT 'time of the write to bronze, UTC',
  date         DATE           NOT NULL COMMENT 'UTC date of ts'
)
COMMENT 'valid trades, each once'
PARTITIONED BY (date)
CLUSTERED BY (symbol) SORTED BY (symbol, ts, seq) INTO 1 BUCKETS
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

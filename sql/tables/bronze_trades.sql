-- bronze.trades: every record that decodes, as it arrived.
-- grain: one row a Kafka record (topic, partition, offset) or a line of a file (topic 'file:<sha256>', partition 0, offset = line).
-- price and qty stay the venue's text: text becomes a decimal once, exactly, on the way into silver.
CREATE TABLE bronze.trades (
  origin       STRING    NOT NULL COMMENT 'kafka or file',
  topic        STRING    NOT NULL COMMENT 'Kafka topic, or file:<sha256>',
  partition    INT       NOT NULL COMMENT 'Kafka partition, 0 for a file',
  offset       BIGINT    NOT NULL COMMENT 'Kafka offset, or line of the file',
  record_ts    TIMESTAMP          COMMENT 'timestamp of the Kafka record',
  payload      BINARY    NOT NULL COMMENT 'bytes of the value, unchanged',
  venue        STRING    NOT NULL COMMENT 'market, e.g. binance-spot',
  symbol       STRING    NOT NULL COMMENT 'BASE-QUOTE, e.g. BTC-USDT',
  kind         STRING    NOT NULL COMMENT 'trade, agg, cancel or correct',
  trade_id     STRING    NOT NULL COMMENT 'the venue''s id, or <connection>-<frame>-<index>',
  seq          BIGINT    NOT NULL COMMENT 'orders the trades of one venue and symbol',
  price        STRING    NOT NULL COMMENT 'decimal text as received',
  qty          STRING    NOT NULL COMMENT 'decimal text as received',
  side         STRING             COMMENT 'taker side, buy or sell; NULL where the venue does not tell',
  ts           TIMESTAMP NOT NULL COMMENT 'trade time, UTC',
  received_at  TIMESTAMP NOT NULL COMMENT 'arrival at the feed, UTC',
  source       STRING    NOT NULL COMMENT 'live, repair, replay, sim or import',
  conditions   ARRAY<STRING>      COMMENT 'sale conditions as the venue codes them',
  ref_trade_id STRING             COMMENT 'what a cancel or a correction names',
  count        BIGINT    NOT NULL COMMENT 'fills in an aggregate, 1 otherwise',
  first_id     BIGINT             COMMENT 'first fill of an aggregate',
  last_id      BIGINT             COMMENT 'last fill of an aggregate',
  ingested_at  TIMESTAMP NOT NULL COMMENT 'time of the write to bronze, UTC',
  ingest_date  DATE      NOT NULL COMMENT 'UTC date of ingested_at'
)
COMMENT 'every record that decodes, as it arrived'
PARTITIONED BY (ingest_date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

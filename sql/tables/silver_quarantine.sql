-- silver.quarantine: decoded trades that broke a rule, whole, with the rule's name.
-- grain: one row a bronze row and rule; the first broken rule in the order of the list names it.
-- Of conflicting repeats that are equal in key, price, qty, side and ts only the least by (source rank, topic, partition, offset) is kept; their
-- price and qty stand as shortest exact text.
CREATE TABLE silver.quarantine (
  rule         STRING    NOT NULL COMMENT 'price_not_positive, qty_not_positive, price_inexact, qty_inexact, price_out_of_range, qty_out_of_range, notional_overflow, ts_too_late, ts_too_early, no_reference, conflicting_repeat',
  detail       STRING    NOT NULL COMMENT 'what broke the rule, in a sentence with the values',
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
  origin       STRING    NOT NULL COMMENT 'kafka or file',
  topic        STRING    NOT NULL COMMENT 'topic of the bronze row',
  partition    INT       NOT NULL COMMENT 'partition of the bronze row',
  offset       BIGINT    NOT NULL COMMENT 'offset of the bronze row',
  ingested_at  TIMESTAMP NOT NULL COMMENT 'time of the write to bronze, UTC',
  ingest_date  DATE      NOT NULL COMMENT 'UTC date of ingested_at'
)
COMMENT 'decoded trades that broke a rule'
PARTITIONED BY (ingest_date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

-- system.parity: our bars against a venue's own candles.
-- grain: one row a run, window and field in which the two differed; a run without a difference has one row of field 'none'.
CREATE TABLE system.parity (
  checked_at   TIMESTAMP NOT NULL COMMENT 'time of the run, UTC; the same in all its rows',
  source       STRING    NOT NULL COMMENT 'file or address of the candles',
  venue        STRING    NOT NULL COMMENT 'market, e.g. binance-spot',
  symbol       STRING    NOT NULL COMMENT 'BASE-QUOTE, e.g. BTC-USDT',
  bar_interval STRING    NOT NULL COMMENT 'as in the name of the gold table, e.g. 1m',
  window_start TIMESTAMP          COMMENT 'start of the window, inclusive, UTC; NULL in a run without a difference',
  field        STRING    NOT NULL COMMENT 'column of the bar; bar where one side lacks the window; none',
  ours         STRING             COMMENT 'what gold says',
  theirs       STRING             COMMENT 'what the venue says',
  candles      BIGINT    NOT NULL COMMENT 'candles with trades that the run compared',
  date         DATE      NOT NULL COMMENT 'UTC date of checked_at'
)
COMMENT 'our bars against a venue''s own candles'
PARTITIONED BY (date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

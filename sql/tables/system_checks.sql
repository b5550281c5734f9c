-- system.checks: what the checks under sql/checks/ found.
-- grain: one row a run, check and table.
CREATE TABLE system.checks (
  checked_at  TIMESTAMP NOT NULL COMMENT 'time of the run, UTC; the same in all its rows',
  check_name  STRING    NOT NULL COMMENT 'name of the file under sql/checks/',
  table_name  STRING    NOT NULL COMMENT 'table that it looks into',
  offending   BIGINT    NOT NULL COMMENT 'rows that it returned; 0 is the good answer',
  example     STRING             COMMENT 'the first of them as JSON; NULL where there is none',
  elapsed_ms  BIGINT    NOT NULL COMMENT 'how long it took, milliseconds',
  date        DATE      NOT NULL COMMENT 'UTC date of checked_at'
)
COMMENT 'what the checks found'
PARTITIONED BY (date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

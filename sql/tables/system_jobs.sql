-- system.jobs: what the scheduled jobs did.
-- grain: one row a job and outcome: the runs since its row before. A row is written where something was done or failed, once a minute at most;
-- a job that finds nothing to do has one an hour. Where the store's answer is lost a row may stand twice.
CREATE TABLE system.jobs (
  job           STRING    NOT NULL COMMENT 'name of the job, e.g. silver or gold-1m',
  outcome       STRING    NOT NULL COMMENT 'done, failed or timed_out',
  runs          BIGINT    NOT NULL COMMENT 'runs that this row adds up',
  first_start   TIMESTAMP NOT NULL COMMENT 'start of the first of them, UTC',
  last_end      TIMESTAMP NOT NULL COMMENT 'end of the last of them, UTC',
  elapsed_ms    BIGINT    NOT NULL COMMENT 'how long they took together, milliseconds',
  longest_ms    BIGINT    NOT NULL COMMENT 'how long the longest of them took, milliseconds',
  rows_in       BIGINT    NOT NULL COMMENT 'rows that they read',
  rows_out      BIGINT    NOT NULL COMMENT 'rows that they wrote; offending rows of checks, differences of parity',
  files_added   BIGINT    NOT NULL COMMENT 'data files that they added, or checkpoints that they wrote',
  files_removed BIGINT    NOT NULL COMMENT 'data files that they took out, or deleted',
  input_from    BIGINT             COMMENT 'version of the input that the first of them stood at; NULL where a job has no input',
  input_to      BIGINT             COMMENT 'version of the input that the last of them read to',
  error         STRING             COMMENT 'what the last of them failed with; NULL where they were done',
  process       STRING    NOT NULL COMMENT 'host and process that ran them',
  date          DATE      NOT NULL COMMENT 'UTC date on which the row was written'
)
COMMENT 'what the scheduled jobs did'
PARTITIONED BY (date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

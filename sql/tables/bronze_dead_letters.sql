-- bronze.dead_letters: every record that does not decode, whole, with its coordinates and the reason.
-- grain: one row a Kafka record or a line of a file. A payload above 64 KiB keeps its first 64 KiB, its length and its sha256.
CREATE TABLE bronze.dead_letters (
  origin         STRING    NOT NULL COMMENT 'kafka or file',
  topic          STRING    NOT NULL COMMENT 'Kafka topic, or file:<sha256>',
  partition      INT       NOT NULL COMMENT 'Kafka partition, 0 for a file',
  offset         BIGINT    NOT NULL COMMENT 'Kafka offset, or line of the file',
  record_ts      TIMESTAMP          COMMENT 'timestamp of the Kafka record',
  key            BINARY             COMMENT 'key of the record',
  payload        BINARY             COMMENT 'the value or its first part; NULL where the value is null or dropped',
  payload_bytes  BIGINT    NOT NULL COMMENT 'length of the whole value, bytes',
  payload_sha256 STRING             COMMENT 'hex digest of the whole value where only a part is kept',
  error_class    STRING    NOT NULL COMMENT 'null_value, empty_value, not_utf8, not_json, missing_field, wrong_type, bad_number, bad_value, too_large, column_count, damaged_file; dropped once an operator has emptied it',
  error          STRING    NOT NULL COMMENT 'what is wrong, in a sentence',
  ingested_at    TIMESTAMP NOT NULL COMMENT 'time of the write, UTC',
  ingest_date    DATE      NOT NULL COMMENT 'UTC date of ingested_at'
)
COMMENT 'every record that does not decode'
PARTITIONED BY (ingest_date)
USING DELTA
TBLPROPERTIES (
  'delta.logRetentionDuration' = 'interval 7 days',
  'delta.deletedFileRetentionDuration' = 'interval 7 days',
  'delta.checkpointInterval' = '100'
)

-- Drops read, old records of one partition of the embedded broker.
-- ?1 topic, ?2 partition, ?3 next offset to read, ?4 newest timestamp to drop (ms), ?5 rows at most.
DELETE FROM record
WHERE rowid IN (
  SELECT record.rowid
  FROM record
  JOIN topition ON topition.id = record.topition
  JOIN topic ON topic.id = topition.topic
  JOIN watermark ON watermark.topition = topition.id
  WHERE topic.name = ?1
    AND topition.partition = ?2
    AND record.offset_id < ?3
    AND record.offset_id < watermark.high - 1
    AND record.timestamp < ?4
  ORDER BY record.offset_id
  LIMIT ?5
)

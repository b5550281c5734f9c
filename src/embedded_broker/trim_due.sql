-- Whether one partition of the embedded broker has something to drop: its oldest record, where that is read and old.
-- A read alone, so that nobody waits for it.
-- ?1 topic, ?2 partition, ?3 next offset to read, ?4 newest timestamp to drop (ms).
SELECT 1
FROM record
JOIN watermark ON watermark.topition = record.topition
WHERE record.rowid = (
    SELECT oldest.rowid
    FROM record AS oldest
    WHERE oldest.topition = (
      SELECT topition.id
      FROM topition
      JOIN topic ON topic.id = topition.topic
      WHERE topic.name = ?1 AND topition.partition = ?2
    )
    ORDER BY oldest.offset_id
    LIMIT 1
  )
  AND record.offset_id < ?3
  AND record.offset_id < watermark.high - 1
  AND record.timestamp < ?4

-- Partitions of one topic of the embedded broker: first offset held, and the one after the last.
-- ?1 topic. An empty log begins where it ends.
SELECT topition.partition, topition.id,
  COALESCE((SELECT MIN(record.offset_id) FROM record WHERE record.topition = topition.id), watermark.high, 0),
  COALESCE(watermark.high, 0)
FROM topic
JOIN topition ON topition.topic = topic.id
JOIN watermark ON watermark.topition = topition.id
WHERE topic.name = ?1

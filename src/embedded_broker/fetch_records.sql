-- Records of one partition in order, as many as the reader steps through.
-- ?1 partition's row id, ?2 first offset, ?3 end offset.
SELECT offset_id, attributes, timestamp, k, v, producer_id, producer_epoch
FROM record
WHERE topition = ?1
  AND offset_id >= ?2
  AND offset_id < ?3
ORDER BY offset_id

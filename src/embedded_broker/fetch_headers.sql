-- Headers of one partition's records from an offset on, in the order of their insertion.
-- ?1 partition's row id, ?2 first offset.
SELECT offset_id, k, v
FROM header
WHERE topition = ?1
  AND offset_id >= ?2
ORDER BY rowid

-- finnhub: US stocks as Finnhub codes them. An odd lot (12) sets no price, an extended-hours print (24) none in regular hours (09:30 to 16:00 in
-- New York). Unknown codes set prices. Crypto has no codes.
SELECT
  CASE
    WHEN array_has(conditions, '12') THEN 'volume'
    WHEN array_has(conditions, '24')
      AND date_part('hour', ts AT TIME ZONE 'America/New_York') * 60 + date_part('minute', ts AT TIME ZONE 'America/New_York')
        BETWEEN 570 AND 959
      THEN 'volume'
    ELSE 'price'
  END AS counts_for
FROM trades

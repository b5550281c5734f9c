-- us-equities-vendor: what the vendor of the `us-equities-ticks` files lets set prices; conditions are one code a flag, as that format has them.
-- In regular hours (09:30 to 16:00 in New York) no price comes from intermarket sweeps (0x20), opening and closing prints (0x40, 0x80),
-- derivatively priced (0x200) and average price trades (0x100000), official closes and opens (0x1000000, 0x4000000). Outside of them every
-- print sets prices, but for those that the vendor itself flags as suspicious. Every print counts for volume.
SELECT
  CASE
    WHEN array_has(conditions, 'suspicious') THEN 'volume'
    WHEN array_has_any(conditions, ['0x20', '0x40', '0x80', '0x200', '0x100000', '0x1000000', '0x4000000'])
      AND date_part('hour', ts AT TIME ZONE 'America/New_York') * 60 + date_part('minute', ts AT TIME ZONE 'America/New_York')
        BETWEEN 570 AND 959
      THEN 'volume'
    ELSE 'price'
  END AS counts_for
FROM trades

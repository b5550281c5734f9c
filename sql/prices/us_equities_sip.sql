-- us-equities-sip: the consolidated rules of the SIP; conditions are the letters of CTA and UTP, one a text.
-- Average price (B, W), cash (C), next day (N), price variation (H), odd lots (I), qualified contingent (7), stock-option (V), official open and
-- close (Q, M) set no price. Extended hours (T, U) set none in regular hours (09:30 to 16:00 in New York). Seller (R), derivatively priced (4),
-- prior reference price (P), out of sequence (Z), bunched sold (G) and sold last (L) set high and low, open and close only where no other print of
-- the bar does. The rest, intermarket sweeps (F) included, sets prices. On tape C the letter B is a regular bunched trade: bring a copy without it.
SELECT
  CASE
    WHEN array_has_any(conditions, ['B', 'W', 'C', 'N', 'H', 'I', '7', 'V', 'Q', 'M']) THEN 'volume'
    WHEN array_has_any(conditions, ['T', 'U'])
      AND date_part('hour', ts AT TIME ZONE 'America/New_York') * 60 + date_part('minute', ts AT TIME ZONE 'America/New_York')
        BETWEEN 570 AND 959
      THEN 'volume'
    WHEN array_has_any(conditions, ['R', '4', 'P', 'Z', 'G', 'L']) THEN 'range'
    ELSE 'price'
  END AS counts_for
FROM trades

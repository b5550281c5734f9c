-- us-equities-ticks: trade ticks of US equities a symbol and day, SYMBOL_tick_YYYYMMDD.zip: milliseconds since midnight in New York (wall
-- clock, fractions allowed), price x 10,000, size, exchange letter, sale condition flags in hex, suspicious 0/1.
-- reads: csv
-- columns: ms, price, size, exchange, flags, suspicious
-- The ticks carry no id: trade_id and seq come from the line. `491800e-4` is 49.18: bronze keeps text, and silver reads it exactly.
-- conditions: one code a flag (20002020 is 0x20, 0x2000 and 0x20000000), and `suspicious`.
SELECT
  coalesce($venue, 'us-equities') AS venue,
  coalesce($symbol, upper(split_part($file_name, '_', 1)) || '-USD') AS symbol,
  $connection || '-' || CAST(line AS VARCHAR) || '-0' AS trade_id,
  CAST(date_part('epoch', $date) AS BIGINT) * 100000 + line AS seq,
  price || 'e-4' AS price,
  size AS qty,
  to_timestamp_micros(
    CAST(date_part('epoch', $date) AS BIGINT) * 1000000 + CAST(CAST(ms AS DECIMAL(20, 3)) * 1000 AS BIGINT)
  ) AT TIME ZONE 'America/New_York' AS ts,
  CASE suspicious
    WHEN '0' THEN hex_flags(flags)
    WHEN '1' THEN array_append(hex_flags(flags), 'suspicious')
  END AS conditions
FROM raw

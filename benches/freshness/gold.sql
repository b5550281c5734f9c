-- How far each bar since the beginning of the run reaches: trades of a symbol come in the order of seq.
SELECT symbol, window_start, last_seq
FROM gold.ohlcv_1m
WHERE window_start >= ?

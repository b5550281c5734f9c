-- Two rows, each after a while of computing: how many products of two numbers leave 3 when divided by 7.
SELECT 'first' AS name, count(*) AS n
FROM generate_series(1, 14000) AS a CROSS JOIN generate_series(1, 14000) AS b
WHERE a.value * b.value % 7 = 3
UNION ALL
SELECT 'last', count(*)
FROM generate_series(1, 28000) AS a CROSS JOIN generate_series(1, 28000) AS b
WHERE a.value * b.value % 7 = 3

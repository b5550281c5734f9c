-- What runs on the server now, and the last statements that ran; an admin sees everyone's.
-- Grain: a statement. Inputs: system.queries.
SELECT id, user_name, state, outcome, started_at, queue_ms, plan_ms, execute_ms, rows, bytes, sql
FROM system.queries
ORDER BY outcome IS NOT NULL, started_at DESC
LIMIT 50

-- The newest row of each job in system.jobs.
-- grain: one row a job. inputs: jobs (system.jobs).
SELECT DISTINCT ON (job)
  job, outcome, last_end, elapsed_ms / runs AS elapsed_ms, rows_in, rows_out, error, process
FROM jobs
ORDER BY job, last_end DESC

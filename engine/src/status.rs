//! What the scheduled jobs did last, job by job: filled by the schedule, read by the heartbeat, `ticklake status` and the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use ticklake_sql::error::chain;

use crate::schedule::Ran;
use crate::verify::CheckResult;

/// Name of the job that runs the checks.
pub(crate) const CHECKS: &str = "checks";

/// How far a job's table stands behind its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lag {
    /// Input versions not read yet.
    pub versions: u64,
    /// Seconds since the oldest of them was seen here; 0 when there is none.
    pub seconds: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
struct JobStatus {
    /// The schedule as it is written.
    every: String,
    running: bool,
    runs: u64,
    failures: u64,
    /// Runs that were due while the job still ran or the process was down, made up for by one run.
    missed: u64,
    rows_in: u64,
    rows_out: u64,
    quarantined: u64,
    repeats: u64,
    superseded: u64,
    /// Check and table -> rows that the last run of the checks returned.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    offending: BTreeMap<String, u64>,
    last_start_us: Option<i64>,
    last_success_us: Option<i64>,
    last_duration_ms: Option<u64>,
    /// Of the last run that did something.
    last_rows_in: u64,
    last_rows_out: u64,
    next_run_us: Option<i64>,
    /// Another process runs the job; this one stands by.
    held_by: Option<String>,
    /// Version of the input that the last run read to.
    read_to: Option<u64>,
    lag: Lag,
    last_report: Option<Value>,
    last_error: Option<LastError>,
}

#[derive(Debug, Clone, Serialize)]
struct LastError {
    at_us: i64,
    kind: String,
    message: String,
}

/// Shared between the schedule that writes it and whoever shows it. Times are microseconds since the epoch, UTC.
#[derive(Debug, Default)]
pub struct EngineStatus {
    jobs: Mutex<BTreeMap<String, JobStatus>>,
}

impl EngineStatus {
    pub fn snapshot(&self) -> Value {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({ "jobs": jobs })
    }

    /// Runs of a job that ended well, e.g. to wait for one.
    pub fn successes(&self, job: &str) -> u64 {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(job).map_or(0, |status| status.runs - status.failures)
    }

    pub(crate) fn known(&self, job: &str, every: String) {
        self.update(job, |status| status.every = every);
    }

    pub(crate) fn scheduled(&self, job: &str, next_run_us: i64, missed: u64) {
        self.update(job, |status| {
            status.next_run_us = Some(next_run_us);
            status.missed += missed;
        });
    }

    pub(crate) fn started(&self, job: &str, now_us: i64) {
        self.update(job, |status| {
            status.running = true;
            status.last_start_us = Some(now_us);
        });
    }

    pub(crate) fn succeeded(&self, job: &str, now_us: i64, elapsed: Duration, ran: &Ran) {
        self.update(job, |status| {
            status.ended(elapsed);
            status.last_success_us = Some(now_us);
            if ran.effect {
                (status.last_rows_in, status.last_rows_out) = (ran.rows_in, ran.rows_out);
            }
            if let Some(report) = &ran.report {
                status.read_to = report.input_to;
                status.rows_in += report.rows_in;
                status.rows_out += report.rows_out;
                status.quarantined += report.quarantined;
                status.repeats += report.repeats;
                status.superseded += report.superseded;
                if report.rows_in > 0 || report.changed() || status.last_report.is_none() {
                    status.last_report = Some(report.to_json());
                }
            }
        });
    }

    pub(crate) fn failed(&self, job: &str, now_us: i64, elapsed: Duration, error: &crate::Error) {
        self.update(job, |status| {
            status.ended(elapsed);
            status.failures += 1;
            status.last_error = Some(LastError::new(now_us, error));
        });
    }

    /// Another process runs the job: this was no run.
    pub(crate) fn stood_by(&self, job: &str, by: String) {
        self.update(job, |status| {
            status.running = false;
            status.held_by = Some(by);
            status.lag = Lag::default();
        });
    }

    /// What the last run of the checks found.
    pub(crate) fn checked(&self, results: &[CheckResult]) {
        let found = |result: &CheckResult| (format!("{} {}", result.check, result.table), result.rows);
        self.update(CHECKS, |status| {
            status.offending = results.iter().map(found).collect();
        });
    }

    pub(crate) fn lags(&self, job: &str, lag: Lag) {
        self.update(job, |status| status.lag = lag);
    }

    fn update(&self, job: &str, change: impl FnOnce(&mut JobStatus)) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        change(jobs.entry(job.to_owned()).or_default());
    }
}

impl JobStatus {
    fn ended(&mut self, elapsed: Duration) {
        self.running = false;
        self.held_by = None;
        self.runs += 1;
        self.last_duration_ms = Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    }
}

impl LastError {
    fn new(at_us: i64, error: &crate::Error) -> Self {
        Self {
            at_us,
            kind: format!("{:?}", error.kind()).to_lowercase(),
            message: chain(error),
        }
    }
}

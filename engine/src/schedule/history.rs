//! The history of runs: added up by job and outcome, and written to system.jobs once a minute where there is something to tell.
//!
//! A refresh of every half second would else be a commit each. What is not written yet when a process is killed is lost: the history tells what
//! was done, and nothing depends on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, NaiveDate, Utc};
use ticklake_sql::error::chain;
use ticklake_sql::{Lake, TableName};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outcome::Ran;
use crate::error::Step;
use crate::maintenance::{RetentionOptions, retain};
use crate::{Error, Result};

/// A job without anything to do shows that it lives.
const IDLE: Duration = Duration::from_secs(3600);
/// A store that hangs must not hold up the end of a role.
const LAST_WRITE: Duration = Duration::from_secs(3);

const DONE: &str = "done";
const FAILED: &str = "failed";
const TIMED_OUT: &str = "timed_out";

/// Job and outcome.
type Key = (String, &'static str);

#[derive(Debug)]
pub struct History {
    process: String,
    state: Mutex<State>,
}

/// Bounded by the number of jobs.
#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Key, Row>,
    /// When a job's newest row was written.
    written: HashMap<String, Instant>,
}

/// The runs of one job and outcome that are not written yet. Times are microseconds since the epoch, UTC.
#[derive(Debug, Clone)]
struct Row {
    runs: u64,
    first_start_us: i64,
    last_end_us: i64,
    elapsed_ms: u64,
    longest_ms: u64,
    ran: Ran,
    error: Option<String>,
}

impl History {
    /// `process`: who ran what this history tells.
    pub fn new(process: String) -> Self {
        Self {
            process,
            state: Mutex::default(),
        }
    }

    /// Adds one run.
    pub fn note(&self, job: &str, started_us: i64, ended_us: i64, elapsed: Duration, outcome: Result<&Ran, &Error>) {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let (name, ran, error) = match outcome {
            Ok(ran) => (DONE, ran.clone(), None),
            Err(error) => {
                let name = match error {
                    Error::TimedOut { .. } => TIMED_OUT,
                    _ => FAILED,
                };
                let ran = Ran {
                    effect: true,
                    ..Ran::default()
                };
                (name, ran, Some(chain(error)))
            }
        };
        let row = Row {
            runs: 1,
            first_start_us: started_us,
            last_end_us: ended_us,
            elapsed_ms,
            longest_ms: elapsed_ms,
            ran,
            error,
        };
        self.put(job.to_owned(), name, row);
    }

    fn put(&self, job: String, outcome: &'static str, row: Row) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.rows.get_mut(&(job.clone(), outcome)) {
            Some(before) => before.add(row),
            None => {
                state.rows.insert((job, outcome), row);
            }
        }
    }

    /// Writes what there is every `every`, and at `stop`; rows go after `kept`.
    pub async fn keep(self: Arc<Self>, lake: Lake, every: Duration, kept: Duration, stop: CancellationToken) {
        let mut swept: Option<NaiveDate> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(every) => {}
            }
            if let Err(error) = self.write(&lake).await {
                tracing::warn!(error = chain(&error), "the history of jobs is written later");
                continue;
            }
            let today = lake.clock().now().date_naive();
            if swept != Some(today) {
                swept = Some(today);
                if let Err(error) = sweep(&lake, kept).await {
                    tracing::warn!(error = chain(&error), "old rows of system.jobs stay for now");
                }
            }
        }
        let _late = tokio::time::timeout(LAST_WRITE, self.write(&lake)).await;
    }

    /// One commit of the rows that are due; none where there is none.
    async fn write(&self, lake: &Lake) -> Result<()> {
        let rows = self.due();
        if rows.is_empty() {
            return Ok(());
        }
        let written = self.append(lake, &rows).await;
        match &written {
            Ok(()) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                state.written.extend(rows.into_iter().map(|((job, _), _)| (job, now)));
            }
            Err(_) => rows
                .into_iter()
                .for_each(|((job, outcome), row)| self.put(job, outcome, row)),
        }
        written
    }

    fn due(&self) -> Vec<(Key, Row)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { rows, written } = &mut *state;
        rows.extract_if(.., |(job, _), row| {
            row.ran.effect || written.get(job).is_none_or(|at| at.elapsed() >= IDLE)
        })
        .collect()
    }

    async fn append(&self, lake: &Lake, rows: &[(Key, Row)]) -> Result<()> {
        let step = "write the history of jobs";
        let table = lake.create_table(&TableName::system_jobs()).await.step(step)?;
        let text = |of: &dyn Fn(&Key, &Row) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(|(key, row)| of(key, row)).collect::<StringArray>())
        };
        let number = |of: &dyn Fn(&Row) -> Option<u64>| -> ArrayRef {
            let number = |row| of(row).map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            Arc::new(rows.iter().map(|(_, row)| number(row)).collect::<Int64Array>())
        };
        let time = |of: &dyn Fn(&Row) -> i64| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, row)| of(row)));
            Arc::new(times.with_timezone("UTC"))
        };
        let columns = vec![
            text(&|(job, _), _| Some(job.clone())),
            text(&|(_, outcome), _| Some((*outcome).to_owned())),
            number(&|row| Some(row.runs)),
            time(&|row| row.first_start_us),
            time(&|row| row.last_end_us),
            number(&|row| Some(row.elapsed_ms)),
            number(&|row| Some(row.longest_ms)),
            number(&|row| Some(row.ran.rows_in)),
            number(&|row| Some(row.ran.rows_out)),
            number(&|row| Some(row.ran.files_added)),
            number(&|row| Some(row.ran.files_removed)),
            number(&|row| row.ran.input_from),
            number(&|row| row.ran.input_to),
            text(&|_, row| row.error.clone()),
            text(&|_, _| Some(self.process.clone())),
        ];
        let now: DateTime<Utc> = lake.clock().now();
        let batch = RecordBatch::try_new(table.spec().file_schema(), columns).step(step)?;
        crate::system::append(&table, now, batch).await
    }
}

impl Row {
    fn add(&mut self, other: Self) {
        // What could not be written comes back behind what was noted since.
        let is_later = other.last_end_us >= self.last_end_us;
        self.runs += other.runs;
        self.elapsed_ms += other.elapsed_ms;
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        self.first_start_us = self.first_start_us.min(other.first_start_us);
        self.last_end_us = self.last_end_us.max(other.last_end_us);
        if is_later {
            self.error = other.error;
        }
        let (ran, more) = (&mut self.ran, other.ran);
        ran.rows_in += more.rows_in;
        ran.rows_out += more.rows_out;
        ran.files_added += more.files_added;
        ran.files_removed += more.files_removed;
        ran.effect |= more.effect;
        let (earlier, later) = match is_later {
            true => (ran.input_from.or(more.input_from), more.input_to.or(ran.input_to)),
            false => (more.input_from.or(ran.input_from), ran.input_to.or(more.input_to)),
        };
        (ran.input_from, ran.input_to) = (earlier, later);
    }
}

/// Whole dates that are older than `kept` go, as retention takes them out of any table.
async fn sweep(lake: &Lake, kept: Duration) -> Result<()> {
    let found = lake.find_table(&TableName::system_jobs()).await;
    let Some(table) = found.step("open the history of jobs")? else {
        return Ok(());
    };
    let options = RetentionOptions {
        keep: kept,
        dry_run: false,
    };
    retain(&table, &[], options).await.map(drop)
}

#[cfg(test)]
mod tests;

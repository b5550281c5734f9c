//! One row a job: from the heartbeat of the process that runs it, from system.jobs where none does, and how far it is behind from the logs.

use std::collections::BTreeMap;

use anyhow::Context;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;
use serde_json::{Value, json};
use ticklake_engine::schedule::{Job, JobOptions};
use ticklake_sql::{Lake, Table, TableName, log};

use crate::status;

/// A process that has not been heard of for so long does not count as one that runs the job; it writes every two seconds.
const SILENT_US: i64 = 15_000_000;
/// Entries without rows that are passed over in search of the first with some.
const LOOKED_THROUGH: u64 = 256;

#[derive(Debug, Clone, Default)]
pub struct JobRow {
    pub name: String,
    pub every: String,
    /// `running`, `waiting`, or `no process` where nobody runs it.
    pub state: &'static str,
    pub last: Option<LastRun>,
    pub last_error: Option<(String, i64)>,
    pub next_us: Option<i64>,
    pub lag: Option<Lag>,
    /// Host and process.
    pub by: Option<String>,
    /// Processes that would take the job over.
    pub standing_by: u64,
}

#[derive(Debug, Clone)]
pub struct LastRun {
    pub at_us: i64,
    /// `done`, `failed` or `timed_out`.
    pub outcome: String,
    pub took_ms: u64,
    /// Of the last run that did something.
    pub rows_in: u64,
    pub rows_out: u64,
}

/// How far the job's table stands behind its input.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    pub versions: u64,
    /// Since the oldest of them that changes rows was committed; 0 where there is none.
    pub seconds: f64,
}

impl JobRow {
    pub fn to_json(&self) -> Value {
        json!({
            "job": self.name,
            "every": self.every,
            "state": self.state,
            "last_run_us": self.last.as_ref().map(|last| last.at_us),
            "outcome": self.last.as_ref().map(|last| &last.outcome),
            "took_ms": self.last.as_ref().map(|last| last.took_ms),
            "rows_in": self.last.as_ref().map(|last| last.rows_in),
            "rows_out": self.last.as_ref().map(|last| last.rows_out),
            "next_run_us": self.next_us,
            "lag_versions": self.lag.map(|lag| lag.versions),
            "lag_seconds": self.lag.map(|lag| lag.seconds),
            "last_error": self.last_error.as_ref().map(|(message, at_us)| json!({ "message": message, "at_us": at_us })),
            "by": self.by,
            "standing_by": self.standing_by,
        })
    }
}

/// `configured`: in the order in which they are shown. Jobs that only a running process knows follow.
pub async fn gather(lake: &Lake, configured: &[JobOptions], now_us: i64) -> anyhow::Result<Vec<JobRow>> {
    let kept = latest(lake).await?;
    let live = live(lake, now_us).await?;
    let mut rows = Vec::new();
    for options in configured {
        let mut row = JobRow {
            name: options.name.clone(),
            every: options.every.to_string(),
            state: "no process",
            ..kept.get(&options.name).cloned().unwrap_or_default()
        };
        let found = live.get(&options.name);
        if let Some(found) = found {
            row = found.over(row);
        }
        row.lag = lag(lake, &options.job, found.and_then(|found| found.read_to), now_us).await?;
        rows.push(row);
    }
    let others = live
        .iter()
        .filter(|(name, _)| !configured.iter().any(|options| options.name == **name));
    rows.extend(others.map(|(name, found)| {
        let row = JobRow {
            name: name.clone(),
            ..kept.get(name).cloned().unwrap_or_default()
        };
        found.over(row)
    }));
    Ok(rows)
}

/// What the process that runs a job says of it.
#[derive(Debug, Default)]
struct Live {
    job: Value,
    by: String,
    read_to: Option<u64>,
    standing_by: u64,
}

impl Live {
    fn over(&self, mut row: JobRow) -> JobRow {
        row.standing_by = self.standing_by;
        if self.job.is_null() {
            return row;
        }
        let job = &self.job;
        let micros = |key: &str| job[key].as_i64();
        row.by = Some(self.by.clone());
        row.every = job["every"].as_str().unwrap_or_default().to_owned();
        row.state = if job["running"] == true { "running" } else { "waiting" };
        row.next_us = micros("next_run_us");
        let error = &job["last_error"];
        row.last_error = error["message"]
            .as_str()
            .map(str::to_owned)
            .zip(error["at_us"].as_i64());
        // A job that has not run in this process yet is known by its history.
        if let Some(at_us) = micros("last_start_us").filter(|_| job["runs"].as_u64() > Some(0)) {
            let failed_at = row.last_error.as_ref().map(|(_, at_us)| *at_us);
            row.last = Some(LastRun {
                at_us,
                outcome: if failed_at > micros("last_success_us") {
                    "failed"
                } else {
                    "done"
                }
                .to_owned(),
                took_ms: job["last_duration_ms"].as_u64().unwrap_or_default(),
                rows_in: job["last_rows_in"].as_u64().unwrap_or_default(),
                rows_out: job["last_rows_out"].as_u64().unwrap_or_default(),
            });
        }
        row
    }
}

/// Job -> what is heard of it now.
async fn live(lake: &Lake, now_us: i64) -> anyhow::Result<BTreeMap<String, Live>> {
    let mut live: BTreeMap<String, Live> = BTreeMap::new();
    for role in status::heartbeats(lake).await? {
        let heard_us = role["at_us"].as_i64().unwrap_or_default();
        if role["state"] != "running" || now_us - heard_us > SILENT_US {
            continue;
        }
        for (name, job) in role["stages"]["jobs"]["jobs"].as_object().into_iter().flatten() {
            let found = live.entry(name.clone()).or_default();
            match job["held_by"].is_string() {
                true => found.standing_by += 1,
                false => {
                    found.job = job.clone();
                    found.by = format!(
                        "{} {}",
                        role["role"].as_str().unwrap_or_default(),
                        role["instance"].as_str().unwrap_or_default()
                    );
                    found.read_to = job["read_to"].as_u64();
                }
            }
        }
    }
    Ok(live)
}

/// Job -> its newest row in system.jobs.
async fn latest(lake: &Lake) -> anyhow::Result<BTreeMap<String, JobRow>> {
    let Some(table) = lake.find_table(&TableName::system_jobs()).await? else {
        return Ok(BTreeMap::new());
    };
    let delta = table.load(None).await?;
    let context = SessionContext::new();
    delta.update_datafusion_session(&context.state())?;
    context.register_table("jobs", delta.table_provider().await?)?;
    let batches = context.sql(include_str!("latest.sql")).await?.collect().await;
    let batches = batches.context("cannot read system.jobs")?;
    let mut rows = BTreeMap::new();
    for batch in &batches {
        rows.extend(kept_rows(batch)?.into_iter().map(|row| (row.name.clone(), row)));
    }
    Ok(rows)
}

fn kept_rows(batch: &RecordBatch) -> anyhow::Result<Vec<JobRow>> {
    let column = |name: &str, data_type: &DataType| -> anyhow::Result<_> {
        let column = batch
            .column_by_name(name)
            .context("a column of system.jobs is missing")?;
        Ok(cast(column, data_type)?)
    };
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let (names, outcomes) = (column("job", &DataType::Utf8)?, column("outcome", &DataType::Utf8)?);
    let (errors, processes) = (column("error", &DataType::Utf8)?, column("process", &DataType::Utf8)?);
    let ends = column("last_end", &micros)?;
    let number = |name| column(name, &DataType::Int64);
    let (took, rows_in, rows_out) = (number("elapsed_ms")?, number("rows_in")?, number("rows_out")?);
    let text = |column: &arrow::array::ArrayRef, row: usize| column.as_string::<i32>().value(row).to_owned();
    let count = |column: &arrow::array::ArrayRef, row: usize| {
        u64::try_from(column.as_primitive::<Int64Type>().value(row)).unwrap_or_default()
    };
    Ok((0..batch.num_rows())
        .map(|row| {
            let at_us = ends.as_primitive::<TimestampMicrosecondType>().value(row);
            JobRow {
                name: text(&names, row),
                last: Some(LastRun {
                    at_us,
                    outcome: text(&outcomes, row),
                    took_ms: count(&took, row),
                    rows_in: count(&rows_in, row),
                    rows_out: count(&rows_out, row),
                }),
                last_error: errors.is_valid(row).then(|| (text(&errors, row), at_us)),
                by: Some(text(&processes, row)),
                ..JobRow::default()
            }
        })
        .collect())
}

/// `read_to`: what the process has read beyond the position in its table's log, which goes on once a minute where there is no row.
async fn lag(lake: &Lake, job: &Job, read_to: Option<u64>, now_us: i64) -> anyhow::Result<Option<Lag>> {
    let (input, output) = match job {
        Job::Silver(_) => (TableName::bronze_trades(), TableName::silver_trades()),
        Job::Gold(options) => (TableName::silver_trades(), TableName::gold_ohlcv(&options.interval)),
        _ => return Ok(None),
    };
    let Some(input) = lake.find_table(&input).await? else {
        return Ok(None);
    };
    let position = match lake.find_table(&output).await? {
        Some(output) => output.read_to(input.name()).await?,
        None => None,
    };
    let read_to = position.max(read_to);
    let newest = input.latest_version(read_to).await?;
    let Some((first, committed_ms)) = first_unread(&input, read_to.map_or(0, |version| version + 1), newest).await
    else {
        return Ok(Some(Lag {
            versions: 0,
            seconds: 0.0,
        }));
    };
    Ok(Some(Lag {
        versions: newest + 1 - first,
        seconds: committed_ms.map_or(0.0, |ms| ((now_us / 1_000 - ms).max(0)) as f64 / 1e3),
    }))
}

/// The first version from `from` on that changes rows, and when it was committed. What only records a position, as vacuum does, is nothing to
/// be behind of. After a look at so many entries the next one counts as if it did.
async fn first_unread(input: &Table, from: u64, newest: u64) -> Option<(u64, Option<i64>)> {
    for version in from..=newest {
        // An entry that log clean-up has passed tells neither rows nor a time.
        let Some(entry) = log::read(input, version).await.ok().flatten() else {
            return Some((version, None));
        };
        let changes_rows =
            entry.adds.iter().any(|add| add.data_change) || entry.removes.iter().any(|remove| remove.data_change);
        if changes_rows || version - from == LOOKED_THROUGH {
            return Some((version, entry.info.and_then(|info| info.timestamp)));
        }
    }
    None
}

//! What a job would touch if it ran now: versions and windows to read, files to merge, delete and take out. Reads logs and statistics, no rows,
//! and writes nothing.

use std::collections::BTreeSet;

use chrono::DateTime;
use futures::TryStreamExt;
use ticklake_sql::log::{self, LogEntry};
use ticklake_sql::{Lake, Table, TableName};

use super::job::Job;
use super::maintain::Maintain;
use crate::Result;
use crate::error::Step;
use crate::gold::Interval;
use crate::maintenance::entries::entries;
use crate::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use crate::scan::DataFile;

/// Windows counted at most: more are told as "at least".
const COUNTED_WINDOWS: usize = 1_000_000;
const DAY_US: i64 = 86_400_000_000;

/// One table that a job would touch, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    pub table: String,
    /// For people, with units.
    pub what: String,
}

impl Touched {
    fn new(table: &TableName, what: String) -> Self {
        Self {
            table: table.to_string(),
            what,
        }
    }
}

/// Empty: nothing.
pub async fn dry_run(lake: &Lake, job: &Job) -> Result<Vec<Touched>> {
    match job {
        Job::Silver(_) => refresh(lake, &TableName::silver_trades(), &TableName::bronze_trades(), None).await,
        Job::Gold(options) => {
            let (name, interval) = (
                TableName::gold_ohlcv(&options.interval),
                Interval::parse(&options.interval)?,
            );
            refresh(lake, &name, &TableName::silver_trades(), Some(interval)).await
        }
        Job::Checkpoint => checkpoints(lake).await,
        Job::Maintain(maintain) => maintenance(lake, maintain).await,
        Job::Checks(_) => Ok(ticklake_sql::checks::ALL
            .iter()
            .map(|check| Touched {
                table: check.tables.join(", "),
                what: format!("run sql/checks/{}.sql", check.name),
            })
            .collect()),
        Job::Parity(compares) => Ok(compares
            .iter()
            .map(|compare| {
                let options = &compare.options;
                let what = format!(
                    "hold the closed bars of {} {} against the candles of {}",
                    options.venue, options.symbol, options.source
                );
                Touched::new(&TableName::gold_ohlcv(&options.interval), what)
            })
            .collect()),
    }
}

/// What a refresh of `output` has yet to read of `input`.
async fn refresh(
    lake: &Lake,
    output: &TableName,
    input: &TableName,
    interval: Option<Interval>,
) -> Result<Vec<Touched>> {
    let Some(table) = lake.find_table(input).await.step("open a table")? else {
        return Ok(vec![Touched::new(input, "does not exist yet".to_owned())]);
    };
    let position = match lake.find_table(output).await.step("open a table")? {
        Some(output) => output.read_to(input).await.step("read the positions of a table")?,
        None => None,
    };
    let newest = table
        .latest_version(position)
        .await
        .step("look for new versions of a table")?;
    let from = position.map_or(0, |position| position + 1);
    if from > newest {
        return Ok(Vec::new());
    }
    let mut news = News::default();
    let mut unread = entries(&table, from, newest);
    while let Some((_, entry)) = unread.try_next().await? {
        match entry {
            Some(entry) => news.take(entry, &table, interval.is_some()),
            // Log clean-up has passed it: the refresh reads what is active.
            None => news.is_whole = true,
        }
    }
    Ok(vec![Touched::new(input, news.tell(from, newest, interval))])
}

/// Data-changing files of versions that are not read yet.
#[derive(Default)]
struct News {
    is_whole: bool,
    files: Vec<DataFile>,
    removed: usize,
}

impl News {
    fn take(&mut self, entry: LogEntry, table: &Table, removes_count: bool) {
        let changing = entry.adds.into_iter().filter(|add| add.data_change);
        self.files.extend(changing.map(|add| DataFile::new(add, table.spec())));
        if removes_count {
            self.removed += entry.removes.iter().filter(|remove| remove.data_change).count();
        }
    }

    fn tell(&self, from: u64, to: u64, interval: Option<Interval>) -> String {
        let mut what = match self.is_whole {
            true => "all active files to read".to_owned(),
            false => format!("{} versions to read, {from} to {to}", to - from + 1),
        };
        let rows: u64 = self.files.iter().filter_map(|file| file.rows).sum();
        what.push_str(&format!(": {} files, {rows} rows", self.files.len()));
        if self.removed > 0 {
            what.push_str(&format!(", {} files removed", self.removed));
        }
        let spans: Vec<(i64, i64)> = self.files.iter().map(|file| file.micros("ts")).collect();
        let known = || spans.iter().filter(|(from, to)| *from != i64::MIN && *to != i64::MAX);
        if let (Some(first), Some(last)) = (known().map(|(from, _)| *from).min(), known().map(|(_, to)| *to).max()) {
            what.push_str(&format!(", trades of {} to {}", time(first), time(last)));
        }
        if let Some(interval) = interval {
            let (windows, dates) = touched(known().copied(), interval);
            let least = if windows.len() >= COUNTED_WINDOWS {
                "at least "
            } else {
                ""
            };
            what.push_str(&format!(
                ", at most {least}{} windows and their neighbours on {} dates",
                windows.len(),
                dates.len()
            ));
        }
        what
    }
}

/// Starts of the windows that the spans reach into, and days since the epoch.
fn touched(spans: impl Iterator<Item = (i64, i64)>, interval: Interval) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let (mut windows, mut dates) = (BTreeSet::new(), BTreeSet::new());
    for (from, to) in spans {
        let mut start = interval.start_of(from);
        while start <= to && windows.len() < COUNTED_WINDOWS {
            windows.insert(start);
            dates.insert(start.div_euclid(DAY_US));
            start += interval.width_us();
        }
    }
    (windows, dates)
}

fn time(us: i64) -> String {
    DateTime::from_timestamp_micros(us)
        .map_or_else(|| us.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

async fn checkpoints(lake: &Lake) -> Result<Vec<Touched>> {
    let mut touched = Vec::new();
    for table in lake.tables().await.step("list the tables of the lake")? {
        if let Some(version) = log::checkpoint_is_due(&table).await.step("look for checkpoints")? {
            let what = format!("a checkpoint at version {version}, and log entries past their time");
            touched.push(Touched::new(table.name(), what));
        }
    }
    Ok(touched)
}

async fn maintenance(lake: &Lake, maintain: &Maintain) -> Result<Vec<Touched>> {
    let tables = lake.tables().await.step("list the tables of the lake")?;
    let mut touched = Vec::new();
    for table in &tables {
        let what = match maintain {
            Maintain::Optimize(options) => would_optimize(table, options).await?,
            Maintain::Vacuum(options) => would_vacuum(table, &tables, options).await?,
            Maintain::Retention(keep) => match keep.get(table.name()) {
                Some(keep) => {
                    let options = RetentionOptions {
                        keep: *keep,
                        dry_run: true,
                    };
                    would_retain(table, &tables, options).await?
                }
                None => None,
            },
        };
        touched.extend(what.map(|what| Touched::new(table.name(), what)));
    }
    Ok(touched)
}

async fn would_optimize(table: &Table, options: &OptimizeOptions) -> Result<Option<String>> {
    let options = OptimizeOptions {
        dry_run: true,
        ..options.clone()
    };
    let report = optimize(table, &options).await?;
    Ok((report.files_removed > 0).then(|| {
        format!(
            "{} files to merge into {}, {} rows, {} bytes",
            report.files_removed, report.files_added, report.rows, report.bytes_removed
        )
    }))
}

async fn would_vacuum(table: &Table, tables: &[Table], options: &VacuumOptions) -> Result<Option<String>> {
    let options = VacuumOptions {
        dry_run: true,
        ..options.clone()
    };
    let report = vacuum(table, tables, &options).await?;
    let way = if report.full { "full listing" } else { "log" };
    Ok((report.files > 0).then(|| format!("{} files of {} bytes to delete ({way})", report.files, report.bytes)))
}

async fn would_retain(table: &Table, tables: &[Table], options: RetentionOptions) -> Result<Option<String>> {
    let report = retain(table, tables, options).await?;
    let dates: Vec<String> = report.dates.iter().map(ToString::to_string).collect();
    Ok((!dates.is_empty()).then(|| {
        format!(
            "{} dates to take out, {} files, {} rows: {}",
            dates.len(),
            report.files,
            report.rows,
            dates.join(", ")
        )
    }))
}

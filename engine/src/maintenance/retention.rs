//! Retention: partitions whose day is past the table's time go, whole, in one commit that also raises the table's low-water mark.
//!
//! Only the commit is made here: the files stay for time travel until vacuum deletes them. A partition that something derived has still to
//! read waits. Gold takes no notice of removes of operation RETENTION: bars stay when their trades go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{NaiveDate, TimeDelta};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use ticklake_sql::commit::{Txn, removal};
use ticklake_sql::log::LogEntry;
use ticklake_sql::{Table, app_ids, failpoint};

use super::active::ActiveFiles;
use super::entries::entries;
use super::lineage::first_unread;
use super::low_water;
use super::replace::{Change, Replacer};
use crate::scan::DataFile;
use crate::{Error, Result};

const OPERATION: &str = "RETENTION";
/// Plans of one run at most, should optimize be at work on the same partitions.
const ROUNDS: u32 = 10;

#[derive(Debug, Clone, Copy)]
pub struct RetentionOptions {
    /// A partition goes when the whole of its day is older than this.
    pub keep: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionReport {
    pub table: ticklake_sql::TableName,
    /// Dates that went, or would go.
    pub dates: BTreeSet<NaiveDate>,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    /// Dates past their time that stayed: something derived has still to read them.
    pub held_back: BTreeSet<NaiveDate>,
    /// First date that the table vouches for.
    pub low_water: Option<NaiveDate>,
    pub version: Option<u64>,
    pub dry_run: bool,
    pub elapsed: Duration,
}

/// The entry takes whole partitions out because they are old: what was made from them stays.
pub(crate) fn made(entry: &LogEntry) -> bool {
    entry.info.as_ref().and_then(|info| info.operation.as_deref()) == Some(OPERATION)
}

/// Takes out the partitions of `table` that are past their time; `tables`: those of the lake, whose positions count.
pub async fn retain(table: &Table, tables: &[Table], options: RetentionOptions) -> Result<RetentionReport> {
    let started = Instant::now();
    let column = date_column(table)?;
    let now = table.lake().clock().now();
    let kept = TimeDelta::from_std(options.keep).unwrap_or(TimeDelta::MAX);
    let Some(cutoff) = now.checked_sub_signed(kept).map(|time| time.date_naive()) else {
        return Err(Error::Invalid(format!(
            "retention of {} is longer than there are dates",
            table.name()
        )));
    };
    let mut files = ActiveFiles::load(table).await?;
    let mut replacer = Replacer::open(table).await?;
    for _ in 0..ROUNDS {
        let unread = unread_dates(table, tables, column, files.version()).await?;
        let mut report = plan(table, column, cutoff, &files, &unread, options);
        let mark = report.low_water.map(low_water::days);
        let recorded = replacer.position(&app_ids::low_water(table.name()));
        report.low_water = report.low_water.max(recorded.and_then(low_water::date));
        if report.dates.is_empty() || options.dry_run {
            report.elapsed = started.elapsed();
            return Ok(report);
        }
        let change = change(&files, column, &report.dates, table);
        let txn = mark
            .filter(|mark| recorded.is_none_or(|recorded| recorded <= *mark))
            .map(|version| Txn {
                app_id: app_ids::low_water(table.name()),
                version,
            });
        failpoint::reach("retention-planned");
        let info = info(&report, cutoff);
        let also: Vec<Txn> = txn.into_iter().collect();
        let replaced = replacer
            .commit(files.version(), &[change], OPERATION, info, &also)
            .await?;
        failpoint::reach("retention-committed");
        if replaced.version.is_some() {
            report.version = replaced.version;
            report.elapsed = started.elapsed();
            report.log();
            return Ok(report);
        }
        files.follow().await?;
    }
    Err(Error::Contended {
        table: table.name().clone(),
        attempts: ROUNDS,
    })
}

fn date_column(table: &Table) -> Result<&str> {
    let columns = &table.spec().partition_columns;
    let found = columns
        .iter()
        .find(|column| *column == "date" || *column == "ingest_date");
    found.map(String::as_str).ok_or_else(|| {
        Error::Invalid(format!(
            "table {} is not partitioned by a date, so retention cannot take out whole partitions of it",
            table.name()
        ))
    })
}

fn date_of(file: &DataFile, column: &str) -> Option<NaiveDate> {
    file.add.partition_values.get(column)?.as_ref()?.parse().ok()
}

/// Dates that versions bring files to which something derived has not read. `None`: it has read nothing, or log clean-up has passed it.
async fn unread_dates(
    table: &Table,
    tables: &[Table],
    column: &str,
    version: u64,
) -> Result<Option<BTreeSet<NaiveDate>>> {
    let mut dates = BTreeSet::new();
    let Some(unread) = first_unread(table, tables).await? else {
        return Ok(Some(dates));
    };
    if unread == 0 {
        return Ok(None);
    }
    let mut entries = entries(table, unread, version);
    while let Some((_, entry)) = entries.try_next().await? {
        let Some(entry) = entry else { return Ok(None) };
        let changing = entry.adds.into_iter().filter(|add| add.data_change);
        dates.extend(changing.filter_map(|add| date_of(&DataFile::new(add, table.spec()), column)));
    }
    Ok(Some(dates))
}

fn plan(
    table: &Table,
    column: &str,
    cutoff: NaiveDate,
    files: &ActiveFiles,
    unread: &Option<BTreeSet<NaiveDate>>,
    options: RetentionOptions,
) -> RetentionReport {
    let mut past: BTreeMap<NaiveDate, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files.iter() {
        if let Some(date) = date_of(file, column).filter(|date| *date < cutoff) {
            past.entry(date).or_default().push(file);
        }
    }
    let is_owed = |date: &NaiveDate| unread.as_ref().is_none_or(|unread| unread.contains(date));
    let (held_back, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = past.into_iter().partition(|(date, _)| is_owed(date));
    let of_gone = || gone.values().flatten();
    RetentionReport {
        table: table.name().clone(),
        files: of_gone().count() as u64,
        bytes: of_gone().map(|file| u64::try_from(file.add.size).unwrap_or(0)).sum(),
        rows: of_gone().filter_map(|file| file.rows).sum(),
        low_water: gone.keys().next_back().and_then(|last| last.succ_opt()),
        dates: gone.keys().copied().collect(),
        held_back: held_back.into_keys().collect(),
        version: None,
        dry_run: options.dry_run,
        elapsed: Duration::ZERO,
    }
}

fn change(files: &ActiveFiles, column: &str, dates: &BTreeSet<NaiveDate>, table: &Table) -> Change {
    let now = table.lake().clock().now();
    let gone = files
        .iter()
        .filter(|file| date_of(file, column).is_some_and(|date| dates.contains(&date)));
    Change {
        removes: gone
            .map(|file| deltalake::kernel::Remove {
                tags: None,
                ..removal(&file.add, now, true)
            })
            .collect(),
        adds: Vec::new(),
    }
}

fn info(report: &RetentionReport, cutoff: NaiveDate) -> Map<String, Value> {
    Map::from_iter([
        ("cutoff".to_owned(), json!(cutoff.to_string())),
        (
            "lowWater".to_owned(),
            json!(report.low_water.map(|date| date.to_string())),
        ),
        (
            "dates".to_owned(),
            json!(report.dates.iter().map(NaiveDate::to_string).collect::<Vec<_>>()),
        ),
        ("rowsRemoved".to_owned(), json!(report.rows)),
    ])
}

impl RetentionReport {
    pub fn to_json(&self) -> Value {
        let texts = |dates: &BTreeSet<NaiveDate>| dates.iter().map(NaiveDate::to_string).collect::<Vec<_>>();
        json!({
            "table": self.table.to_string(),
            "dates": texts(&self.dates),
            "files": self.files,
            "bytes": self.bytes,
            "rows": self.rows,
            "held_back": texts(&self.held_back),
            "low_water": self.low_water.map(|date| date.to_string()),
            "version": self.version,
            "dry_run": self.dry_run,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn log(&self) {
        tracing::info!(
            table = %self.table,
            dates = self.dates.len(),
            files = self.files,
            bytes = self.bytes,
            rows = self.rows,
            low_water = self.low_water.map(|date| date.to_string()),
            version = self.version,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "partitions past their time were taken out"
        );
    }
}

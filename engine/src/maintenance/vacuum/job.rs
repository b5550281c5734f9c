//! The job: find, say, delete, record. Killed anywhere, the next run finds what is left.

use std::collections::HashSet;
use std::time::Instant;

use futures::{StreamExt, stream};
use object_store::path::Path;
use serde_json::{Map, json};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::{ErrorKind, Table, failpoint};

use super::window::Window;
use super::{Doomed, VacuumOptions, VacuumReport, listing, tombstones};
use crate::error::Step;
use crate::{Error, Result};

/// Lost races in a row before the position is left for the next run.
const RACES: u32 = 20;

/// Deletes what no version inside the window of `table` needs; `tables`: those of the lake, whose positions count.
pub async fn vacuum(table: &Table, tables: &[Table], options: &VacuumOptions) -> Result<VacuumReport> {
    let started = Instant::now();
    let apps = AppIds::of(table);
    let (_, positions) = table.positions().await.step("read the positions of a table")?;
    let position = |app_id: &str| positions.get(app_id).copied();
    let now_s = table.lake().clock().now().timestamp();
    let full = options.full
        || options
            .full_every
            .is_some_and(|every| is_due(position(&apps.listed), every, now_s));
    let done_to = position(&apps.done).and_then(|version| u64::try_from(version).ok());

    let window = Window::of(table, tables, options).await?;
    let mut report = VacuumReport::new(table.name().clone(), options.dry_run);
    report.full = full;
    let found = tombstones::find(table, &window, done_to).await?;
    report.done_to = found.done_to;
    report.held_back = found.held_back;
    let mut files = found.files;
    if full {
        let (listed, held_back) = listing::find(table, &window).await?;
        // The log also names young files, which the listing leaves to their writers.
        let known: HashSet<String> = files.iter().map(|file| file.path.clone()).collect();
        files.extend(listed.into_iter().filter(|file| !known.contains(&file.path)));
        report.held_back = report.held_back.max(held_back);
    }
    files.retain(|file| !file.path.contains('%'));
    report.files = files.len() as u64;
    report.bytes = files.iter().map(|file| file.bytes).sum();
    report.elapsed = started.elapsed();
    if options.dry_run {
        return Ok(report);
    }
    if report.files > 0 {
        report.log("vacuum is about to delete");
        delete(table, files).await?;
    }
    failpoint::reach("vacuum-deleted");
    if found.done_to != done_to || full {
        record(table, &apps, &report, full.then_some(now_s)).await?;
    }
    report.elapsed = started.elapsed();
    if report.files > 0 {
        report.log("vacuumed");
    }
    Ok(report)
}

/// App ids of vacuum's positions.
struct AppIds {
    /// Log entries up to this version are done with.
    done: String,
    /// Second of the last full listing.
    listed: String,
}

impl AppIds {
    fn of(table: &Table) -> Self {
        Self {
            done: format!("ticklake/{}/vacuum", table.name()),
            listed: format!("ticklake/{}/vacuum-listing", table.name()),
        }
    }
}

fn is_due(last_s: Option<i64>, every: std::time::Duration, now_s: i64) -> bool {
    let every_s = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
    last_s.is_none_or(|last| now_s.saturating_sub(last) >= every_s)
}

/// A file that is gone already was deleted by a run that was killed.
async fn delete(table: &Table, files: Vec<Doomed>) -> Result<()> {
    let store = table.log_store().object_store(None);
    let paths = files
        .into_iter()
        .map(|file| Path::parse(&file.path).map_err(|source| object_store::Error::InvalidPath { source }));
    let mut deleted = store.delete_stream(stream::iter(paths).boxed());
    while let Some(outcome) = deleted.next().await {
        match outcome {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                return Err(Error::Read {
                    table: table.name().clone(),
                    path: "files to delete".to_owned(),
                    source: Box::new(source),
                });
            }
        }
    }
    Ok(())
}

/// A commit of nothing but the position. Left out where others are always first: the next run then reads the same entries again.
async fn record(table: &Table, apps: &AppIds, report: &VacuumReport, listed_s: Option<i64>) -> Result<()> {
    let mut committer = Committer::open(table).await.step("read the positions of a table")?;
    let done = report.done_to.and_then(|version| i64::try_from(version).ok());
    for _ in 0..RACES {
        let ahead = |app_id: &String, to: i64| committer.positions().get(app_id).is_none_or(|at| *at <= to);
        let positions = [(&apps.done, done), (&apps.listed, listed_s)];
        let txns: Vec<Txn> = positions
            .into_iter()
            .filter_map(|(app_id, version)| Some((app_id, version?)))
            .filter(|(app_id, version)| ahead(app_id, *version))
            .map(|(app_id, version)| Txn {
                app_id: app_id.clone(),
                version,
            })
            .collect();
        if txns.is_empty() {
            return Ok(());
        }
        let commit = Commit {
            operation: "VACUUM".into(),
            info: Map::from_iter([
                ("filesDeleted".to_owned(), json!(report.files)),
                ("bytesDeleted".to_owned(), json!(report.bytes)),
                ("fullListing".to_owned(), json!(report.full)),
            ]),
            txns,
            ..Commit::default()
        };
        match committer.commit(commit).await {
            Ok(Outcome::Committed { .. }) => return Ok(()),
            Ok(Outcome::Conflict { .. }) => {}
            Err(error) if error.kind() == ErrorKind::Retry => {
                tracing::warn!(table = %table.name(), %error, "vacuum's position may not be recorded; the next run looks again");
                return Ok(());
            }
            Err(error) => return Err(Error::sql("record vacuum's position", error)),
        }
        committer.refresh().await.step("read new positions of a table")?;
    }
    Ok(())
}

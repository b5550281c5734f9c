//! One table set back to what it held at a version or a time: one commit on top of the log, so that readers, history and the jobs that follow the
//! table go on. Its positions go back with it, and its input is read again from there; so does what it was partitioned by.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, json};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::{ErrorKind, Lake, Table, TableName, app_ids, log};

use super::restorable::restorable;
use crate::error::Step;
use crate::verify::Snapshot;
use crate::watermarks;
use crate::{Error, Result};

/// A position in an input that is read from its first version.
const NOTHING_READ: i64 = -1;
/// Entries read backwards in search of watermarks, as gold does.
const WATERMARK_ENTRIES: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Version(u64),
    /// The newest version committed at this time or before.
    Time(DateTime<Utc>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    pub table: TableName,
    pub from: u64,
    pub to: u64,
    /// The version that the table has now.
    pub version: u64,
    pub files_added: u64,
    pub files_removed: u64,
}

/// Sets `name` back. Refused where a file of that version is gone, or where the log no longer tells of it; then the versions that are left are named.
pub async fn rollback(lake: &Lake, name: &TableName, to: To) -> Result<RolledBack> {
    let table = lake.table(name).await.step("open a table")?;
    let mut committer = Committer::open(&table).await.step("read the positions of a table")?;
    let from = committer.version();
    let to = match to {
        To::Version(version) if version <= from => version,
        To::Version(version) => {
            return Err(Error::Invalid(format!(
                "{name} has no version {version}: the newest is {from}"
            )));
        }
        To::Time(time) => version_at(&table, from, time).await?,
    };
    let now = Snapshot::pinned(&table, from).await?;
    let (then_at, columns) = match table.stood_at(to).await {
        Ok(stood) => stood,
        Err(error) if error.kind() == ErrorKind::Data => {
            return Err(refused(&table, &now, to, "its log no longer tells of it").await?);
        }
        Err(error) => return Err(Error::sql("read the log of a table", error)),
    };
    let then = Snapshot::pinned(&table, to).await?;
    let active: HashSet<&str> = now.adds.iter().map(|add| add.path.as_str()).collect();
    let wanted: HashSet<&str> = then.adds.iter().map(|add| add.path.as_str()).collect();
    let adds: Vec<_> = then
        .adds
        .iter()
        .filter(|add| !active.contains(add.path.as_str()))
        .cloned()
        .collect();
    let at = lake.clock().now();
    let removes: Vec<_> = now
        .adds
        .iter()
        .filter(|add| !wanted.contains(add.path.as_str()))
        .map(|add| removal(add, at, true))
        .collect();
    for add in &adds {
        if !exists(&table, &add.path).await? {
            let why = format!("{} is gone, and maybe others of its files", add.path);
            return Err(refused(&table, &now, to, &why).await?);
        }
    }
    let mut txns = positions(name, to, then_at, committer.positions())?;
    let writer = app_ids::writer(name);
    txns.push(Txn {
        version: committer.positions().get(&writer).copied().unwrap_or(0) + 1,
        app_id: writer,
    });
    let (files_added, files_removed) = (adds.len() as u64, removes.len() as u64);
    let mut info = Map::from_iter([("restoredVersion".to_owned(), to.into())]);
    // Else its bars would be held to be closed by what came later.
    let marks = watermarks::at(&table, to, WATERMARK_ENTRIES).await?;
    info.extend(marks.map(|marks| (watermarks::KEY.to_owned(), json!(marks))));
    let commit = Commit {
        operation: "RESTORE".into(),
        info,
        txns,
        adds,
        removes,
        partition_columns: (columns != table.spec().partition_columns).then_some(columns),
        read_version: Some(from),
        allow_backwards: true,
    };
    match committer.commit(commit).await.step("commit a restored table")? {
        Outcome::Committed { version } => Ok(RolledBack {
            table: name.clone(),
            from,
            to,
            version,
            files_added,
            files_removed,
        }),
        Outcome::Conflict { .. } => Err(Error::Contended {
            table: name.clone(),
            attempts: 1,
        }),
    }
}

async fn refused(table: &Table, now: &Snapshot, to: u64, why: &str) -> Result<Error> {
    let left = restorable(table, now).await?;
    Ok(Error::Invalid(format!(
        "{} cannot go back to version {to}: {why}; {left} can be restored",
        table.name()
    )))
}

async fn version_at(table: &Table, newest: u64, time: DateTime<Utc>) -> Result<u64> {
    for version in (0..=newest).rev() {
        let entry = match log::read(table, version).await {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Data => break,
            Err(error) => return Err(Error::sql("read the log of a table", error)),
        };
        let committed_ms = entry.info.and_then(|info| info.timestamp);
        if committed_ms.is_some_and(|at| at <= time.timestamp_millis()) {
            return Ok(version);
        }
    }
    Err(Error::Invalid(format!(
        "the log of {} tells of no version at {time} or before",
        table.name()
    )))
}

async fn exists(table: &Table, path: &str) -> Result<bool> {
    use object_store::ObjectStoreExt;
    let location = object_store::path::Path::parse(path).unwrap_or_else(|_| path.into());
    match table.log_store().object_store(None).head(&location).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(Error::Read {
            table: table.name().clone(),
            path: path.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// Says what was done to the table, or keeps writers from one another, and nothing of what it holds: it never goes back.
fn stays(app_id: &str) -> bool {
    app_id.starts_with("lease/")
        || ["writer", "retry", "vacuum", "vacuum-listing"]
            .iter()
            .any(|kind| app_id.rsplit('/').next() == Some(kind))
}

/// What goes back with the table: each position as it was `then`, those that had not begun to what that means.
fn positions(name: &TableName, to: u64, then: HashMap<String, i64>, now: &HashMap<String, i64>) -> Result<Vec<Txn>> {
    let mut txns = Vec::new();
    for app_id in now.keys().filter(|app_id| !stays(app_id)) {
        let before = match app_id {
            input if input.contains("/input/") => Some(NOTHING_READ),
            total if total.contains("/total/") => Some(0),
            // Retention had taken out nothing: the first whole date is as early as one likes.
            mark if *mark == app_ids::low_water(name) => Some(0),
            _ => None,
        };
        let version = then.get(app_id).copied().or(before).ok_or_else(|| {
            Error::Invalid(format!(
                "{name} cannot go back to version {to}: {app_id} had not begun there, and what it has read since would be lost; choose a newer version"
            ))
        })?;
        txns.push(Txn {
            app_id: app_id.clone(),
            version,
        });
    }
    Ok(txns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_a_table_does_not_go_back_and_what_it_has_read_does() {
        let name = TableName::silver_trades();
        let app = |rest: &str| format!("ticklake/{name}/{rest}");
        let now: HashMap<String, i64> = [
            (app("writer"), 9),
            (app("vacuum"), 4),
            (app("vacuum-listing"), 1_700_000_000),
            ("lease/optimize".to_owned(), 3),
            (app("input/bronze.trades"), 7),
            (app("total/repeats"), 5),
            (app("low-water"), 20_000),
        ]
        .into();
        let then: HashMap<String, i64> = [(app("input/bronze.trades"), 2), (app("writer"), 3)].into();
        let mut txns = positions(&name, 3, then, &now).unwrap();
        txns.sort_by(|a, b| a.app_id.cmp(&b.app_id));
        let txns: Vec<(String, i64)> = txns.into_iter().map(|txn| (txn.app_id, txn.version)).collect();
        let expected = [
            (app("input/bronze.trades"), 2),
            (app("low-water"), 0),
            (app("total/repeats"), 0),
        ];
        assert_eq!(txns, expected);
        let bronze: HashMap<String, i64> = [("ticklake/bronze.trades/kafka/c/t/0".to_owned(), 3)].into();
        let refused = positions(&name, 0, HashMap::new(), &bronze).unwrap_err().to_string();
        assert!(refused.contains("had not begun there"), "{refused}");
    }
}

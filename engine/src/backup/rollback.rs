//! One table set back to what it held at a version or a time: one commit on top of the log, so that readers, history and the jobs that follow the
//! table go on. Its positions go back with it, and its input is read again from there.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::{ErrorKind, Lake, TableName, app_ids, log};

use crate::error::Step;
use crate::verify::Snapshot;
use crate::{Error, Result};

/// A position in an input that is read from its first version.
const NOTHING_READ: i64 = -1;

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

/// Sets `name` back. Refused where a file of that version is gone, or where the log no longer tells its positions.
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
        exists(&table, &add.path, to).await?;
    }
    let writer = app_ids::writer(name);
    let mut txns = positions_at(&table, to, committer.positions()).await?;
    txns.retain(|txn| txn.app_id != writer);
    let next = committer.positions().get(&writer).copied().unwrap_or(0) + 1;
    txns.push(Txn {
        app_id: writer,
        version: next,
    });
    let (files_added, files_removed) = (adds.len() as u64, removes.len() as u64);
    let commit = Commit {
        operation: "RESTORE".into(),
        info: [("restoredVersion".to_owned(), to.into())].into_iter().collect(),
        txns,
        adds,
        removes,
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

async fn version_at(table: &ticklake_sql::Table, newest: u64, time: DateTime<Utc>) -> Result<u64> {
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

async fn exists(table: &ticklake_sql::Table, path: &str, version: u64) -> Result<()> {
    use object_store::ObjectStoreExt;
    let location = object_store::path::Path::parse(path).unwrap_or_else(|_| path.into());
    match table.log_store().object_store(None).head(&location).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::NotFound { .. }) => Err(Error::Invalid(format!(
            "{path} of {} version {version} is gone: vacuum has passed it; choose a newer version",
            table.name()
        ))),
        Err(source) => Err(Error::Read {
            table: table.name().clone(),
            path: path.to_owned(),
            source: Box::new(source),
        }),
    }
}

/// What each position of the table was at `version`: its newest record at or below it in the log.
async fn positions_at(table: &ticklake_sql::Table, version: u64, now: &HashMap<String, i64>) -> Result<Vec<Txn>> {
    let mut then: HashMap<String, i64> = HashMap::new();
    let mut reached_start = false;
    for at in (0..=version).rev() {
        if then.len() == now.len() {
            break;
        }
        match log::read(table, at).await {
            Ok(Some(entry)) => {
                for txn in entry.txns {
                    then.entry(txn.app_id).or_insert(txn.version);
                }
                reached_start = at == 0;
            }
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Data => break,
            Err(error) => return Err(Error::sql("read the log of a table", error)),
        }
    }
    for app_id in now.keys() {
        if then.contains_key(app_id) {
            continue;
        }
        let before = if app_id.contains("/input/") {
            Some(NOTHING_READ)
        } else if app_id.contains("/total/") {
            Some(0)
        } else {
            None
        };
        match before.filter(|_| reached_start) {
            Some(before) => {
                then.insert(app_id.clone(), before);
            }
            None if app_id.ends_with("/writer") => {}
            None => {
                return Err(Error::Invalid(format!(
                    "the log of {} does not tell where {app_id} stood at version {version}; choose a newer version",
                    table.name()
                )));
            }
        }
    }
    Ok(then
        .into_iter()
        .map(|(app_id, version)| Txn { app_id, version })
        .collect())
}

//! A commit that takes files out of a table, and may put others in their place, beside writers that never stop.
//!
//! Work of minutes was planned from a version that others have long gone past. What they added does no harm; what matters is that every path
//! taken out is still there. So entries since the plan are read, changes whose files are gone are dropped, and the rest is put on top of the
//! newest version. The writer app id makes the put itself exclude every other commit to the table that removes files.

use std::collections::HashSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use deltalake::kernel::{Add, Remove};
use serde_json::{Map, Value};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::{ErrorKind, Table, app_ids, log};

use crate::error::Step;
use crate::{Error, Result};

/// Lost races in a row before the job gives up; each costs one read and one put.
const RACES: u32 = 200;
/// Tries of a commit whose outcome stays unknown, about 6 s in all.
const UNKNOWN_OUTCOMES: usize = 6;

/// Files that leave the table together, and those that come in their place.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub removes: Vec<Remove>,
    pub adds: Vec<Add>,
}

/// What became of the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The commit, where anything was left to commit.
    pub version: Option<u64>,
    /// For each change, in order: it is in the commit.
    pub landed: Vec<bool>,
}

pub struct Replacer {
    table: Table,
    committer: Committer,
    writer_app: String,
}

impl Replacer {
    pub async fn open(table: &Table) -> Result<Self> {
        Ok(Self {
            committer: Committer::open(table).await.step("read the positions of a table")?,
            writer_app: app_ids::writer(table.name()),
            table: table.clone(),
        })
    }

    /// Positions as of the newest version seen.
    pub fn position(&self, app_id: &str) -> Option<i64> {
        self.committer.positions().get(app_id).copied()
    }

    /// One commit of all `changes` whose files are still active, planned from version `planned_at`. `also`: further positions.
    pub async fn commit(
        &mut self,
        planned_at: u64,
        changes: &[Change],
        operation: &str,
        info: Map<String, Value>,
        also: &[Txn],
    ) -> Result<Replaced> {
        let mut landed = vec![true; changes.len()];
        let mut read_to = planned_at;
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(UNKNOWN_OUTCOMES)
            .with_jitter()
            .build();
        for _ in 0..RACES {
            self.committer.refresh().await.step("read new positions of a table")?;
            if let Some(version) = self.look(&mut read_to, changes, &mut landed).await? {
                return Ok(Replaced {
                    version: Some(version),
                    landed,
                });
            }
            if !landed.contains(&true) {
                return Ok(Replaced { version: None, landed });
            }
            let commit = self.compose(read_to, changes, &landed, operation, info.clone(), also);
            match self.committer.commit(commit).await {
                Ok(Outcome::Committed { version }) => {
                    return Ok(Replaced {
                        version: Some(version),
                        landed,
                    });
                }
                Ok(Outcome::Conflict { version, reason }) => {
                    tracing::debug!(table = %self.table.name(), version, reason, "another writer was first, looking again");
                }
                // The outcome is unknown: the entries read next tell whether our files are in one.
                Err(error) if error.kind() == ErrorKind::Retry => match delays.next() {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return Err(Error::sql("commit rewritten files", error)),
                },
                Err(error) => return Err(Error::sql("commit rewritten files", error)),
            }
        }
        Err(Error::Contended {
            table: self.table.name().clone(),
            attempts: RACES,
        })
    }

    /// Reads the entries after `read_to`. Changes that one of them gets in the way of are marked; an entry that is ours is the answer.
    async fn look(&self, read_to: &mut u64, changes: &[Change], landed: &mut [bool]) -> Result<Option<u64>> {
        let mut removed: HashSet<String> = HashSet::new();
        while *read_to < self.committer.version() {
            let entry = match log::read(&self.table, *read_to + 1).await {
                Ok(Some(entry)) => entry,
                // Log clean-up has passed the plan: nothing is known of what it went by.
                Ok(None) => {
                    landed.fill(false);
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Data => {
                    landed.fill(false);
                    return Ok(None);
                }
                Err(source) => return Err(Error::sql("read the log of a table", source)),
            };
            if is_ours(&entry.adds, &entry.removes, changes, landed) {
                return Ok(Some(entry.version));
            }
            if entry.changes_table {
                landed.fill(false);
            }
            removed.extend(entry.removes.into_iter().map(|remove| remove.path));
            *read_to = entry.version;
        }
        for (change, landed) in changes.iter().zip(landed) {
            *landed &= !change.removes.iter().any(|remove| removed.contains(&remove.path));
        }
        Ok(None)
    }

    fn compose(
        &self,
        read_version: u64,
        changes: &[Change],
        landed: &[bool],
        operation: &str,
        info: Map<String, Value>,
        also: &[Txn],
    ) -> Commit {
        let now_ms = self.table.lake().clock().now().timestamp_millis();
        let chosen = || changes.iter().zip(landed).filter(|(_, landed)| **landed);
        let removes = chosen().flat_map(|(change, _)| change.removes.iter().cloned());
        let writer = Txn {
            app_id: self.writer_app.clone(),
            version: self.position(&self.writer_app).unwrap_or(0) + 1,
        };
        Commit {
            operation: operation.to_owned(),
            info,
            txns: also.iter().cloned().chain([writer]).collect(),
            adds: chosen().flat_map(|(change, _)| change.adds.iter().cloned()).collect(),
            // The time that counts for vacuum is that of the commit, however long ago the files were planned.
            removes: removes
                .map(|remove| Remove {
                    deletion_timestamp: Some(now_ms),
                    ..remove
                })
                .collect(),
            read_version: Some(read_version),
            ..Commit::default()
        }
    }
}

/// The entry holds exactly the files that our put, whose answer was lost, would have brought: their names are used once.
fn is_ours(adds: &[Add], removes: &[Remove], changes: &[Change], landed: &[bool]) -> bool {
    let chosen = || {
        changes
            .iter()
            .zip(landed)
            .filter(|(_, landed)| **landed)
            .map(|(change, _)| change)
    };
    if let Some(own) = chosen().flat_map(|change| &change.adds).next() {
        return adds.iter().any(|add| add.path == own.path);
    }
    // Removes alone: all of them, and nothing else.
    let own: HashSet<&str> = chosen()
        .flat_map(|change| &change.removes)
        .map(|remove| remove.path.as_str())
        .collect();
    adds.is_empty() && own.len() == removes.len() && removes.iter().all(|remove| own.contains(remove.path.as_str()))
}

//! A table that the refresh writes: its log, its positions, and what its files hold. Follows the log, so that commits of others (optimize,
//! retention, a second refresh) are seen before anything is planned upon them.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::NaiveDate;
use deltalake::kernel::{Add, Remove};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::log::LogEntry;
use ticklake_sql::{ErrorKind, Table, TableName, app_ids, log};

use super::held::{Held, Slot};
use super::read::{self, FileRef, off_runtime};
use super::rules::Rule;
use crate::error::Step;
use crate::maintenance::low_water;
use crate::watermarks;
use crate::{Error, Result};

/// Tries of a commit whose outcome stays unknown, about 6 s in all; the schedule tries the whole refresh again later.
const COMMIT_TRIES: usize = 6;
/// Commits of others that a rebuild is put on top of before it is planned again.
const REBASES: usize = 20;

pub struct Output {
    table: Table,
    committer: Committer,
    held: Held,
    /// The version that `held` stands at.
    held_version: u64,
    /// App ids of this table's positions.
    input_app: String,
    writer_app: String,
}

/// App id under which a running total stands in a table.
pub fn total_app(table: &TableName, name: &str) -> String {
    format!("ticklake/{table}/total/{name}")
}

/// How a commit ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Landed {
    At(u64),
    /// Another writer committed: plan again from what stands now.
    Lost,
}

impl Output {
    pub async fn open(table: Table, input: &TableName) -> Result<Self> {
        let committer = Committer::open(&table).await.step("read the positions of a table")?;
        let (input_app, writer_app) = (app_ids::input(table.name(), input), app_ids::writer(table.name()));
        let mut output = Self {
            table,
            committer,
            held: Held::default(),
            held_version: 0,
            input_app,
            writer_app,
        };
        output.load().await?;
        Ok(output)
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    pub fn version(&self) -> u64 {
        self.held_version
    }

    /// The input version up to which this table stands.
    pub fn position(&self) -> Option<u64> {
        self.committer
            .positions()
            .get(&self.input_app)
            .and_then(|version| u64::try_from(*version).ok())
    }

    /// The first date that is whole, where retention has taken out others.
    pub fn low_water(&self) -> Option<NaiveDate> {
        low_water::of(self.table.name(), self.committer.positions())
    }

    /// Takes in what was committed since the last call.
    pub async fn follow(&mut self) -> Result<()> {
        self.committer.refresh().await.step("read new positions of a table")?;
        while self.held_version < self.committer.version() {
            match log::read(&self.table, self.held_version + 1).await {
                Ok(Some(entry)) => {
                    self.held.apply(&entry.adds, &entry.removes);
                    self.held_version = entry.version;
                }
                // The entry is gone behind a checkpoint.
                Ok(None) => return self.load().await,
                Err(error) if error.kind() == ErrorKind::Data => return self.load().await,
                Err(source) => {
                    return Err(Error::sql("follow the log of a table", source));
                }
            }
        }
        self.list().await
    }

    async fn load(&mut self) -> Result<()> {
        let version = self.committer.version();
        let (_, files) = self
            .table
            .files(Some(version))
            .await
            .step("load the files of a table")?;
        self.held = Held::default();
        self.held.apply(&files, &[]);
        self.held_version = version;
        self.list().await
    }

    /// Reads the ranges of files whose Adds do not tell them.
    async fn list(&mut self) -> Result<()> {
        let unlisted: Vec<(Slot, FileRef)> = self
            .held
            .unlisted()
            .map(|(slot, file)| (slot, file.reference()))
            .collect();
        let quarantine = *self.table.name() == TableName::silver_quarantine();
        for (slot, file) in unlisted {
            let table = self.table.clone();
            let filter = quarantine.then_some(("rule", Rule::ConflictingRepeat.name()));
            let ranges = off_runtime(async move { read::ranges(&table, &file, filter).await }).await?;
            self.held.list(slot, ranges);
        }
        Ok(())
    }

    pub fn files(&self, slots: &BTreeSet<Slot>) -> Vec<(Slot, FileRef)> {
        slots
            .iter()
            .filter_map(|slot| Some((*slot, self.held.file(*slot)?.reference())))
            .collect()
    }

    pub fn removes(&self, slots: &HashSet<Slot>, now_ms: i64) -> Vec<Remove> {
        let files = slots.iter().filter_map(|slot| self.held.file(*slot));
        files
            .map(|file| Remove {
                path: file.path.clone(),
                data_change: true,
                deletion_timestamp: Some(now_ms),
                extended_file_metadata: Some(true),
                partition_values: Some(file.partition_values.clone()),
                size: Some(file.size_bytes),
                ..Remove::default()
            })
            .collect()
    }

    /// A running total, kept beside the positions so that it outlives the log's entries. `None` where the table has been refreshed without it:
    /// what came before is not known.
    pub fn total(&self, name: &str) -> Option<i64> {
        let known = self.committer.positions().get(&total_app(self.table.name(), name));
        known.copied().or_else(|| self.position().is_none().then_some(0))
    }

    /// Commits on top of the version that was planned upon, moving the position to input version `to` and each total to its new sum. A lost
    /// answer is cleared up here.
    pub async fn commit(
        &mut self,
        to: u64,
        adds: Vec<Add>,
        removes: Vec<Remove>,
        info: serde_json::Map<String, serde_json::Value>,
        totals: &[(&str, i64)],
    ) -> Result<Landed> {
        let planned_at = self.held_version;
        let writer = self.committer.positions().get(&self.writer_app).copied().unwrap_or(0) + 1;
        let input = i64::try_from(to).map_err(|_| Error::Internal("an input version beyond i64".into()))?;
        let mut txns = vec![
            Txn {
                app_id: self.input_app.clone(),
                version: input,
            },
            Txn {
                app_id: self.writer_app.clone(),
                version: writer,
            },
        ];
        txns.extend(totals.iter().map(|(name, version)| Txn {
            app_id: total_app(self.table.name(), name),
            version: *version,
        }));
        let commit = Commit {
            operation: "REFRESH".into(),
            info,
            txns,
            adds,
            removes,
            read_version: Some(planned_at),
            ..Commit::default()
        };
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(COMMIT_TRIES)
            .with_jitter()
            .build();
        loop {
            if self.committer.version() != planned_at {
                return Ok(Landed::Lost);
            }
            let error = match self.committer.commit(commit.clone()).await {
                Ok(Outcome::Committed { version }) => {
                    self.follow().await?;
                    return Ok(Landed::At(version));
                }
                Ok(Outcome::Conflict { version, reason }) => {
                    tracing::info!(table = %self.table.name(), version, reason, "another writer was first, planning again");
                    self.follow().await?;
                    return Ok(Landed::Lost);
                }
                Err(error) => error,
            };
            if error.kind() != ErrorKind::Retry {
                return Err(Error::sql("commit a refresh", error));
            }
            // The outcome is unknown: the positions tell.
            self.follow().await?;
            let writer_now = self.committer.positions().get(&self.writer_app).copied();
            if self.position() == Some(to) && writer_now == Some(writer) {
                return Ok(Landed::At(self.held_version));
            }
            match delays.next() {
                Some(delay) => tokio::time::sleep(delay).await,
                None => {
                    return Err(Error::sql("commit a refresh", error));
                }
            }
        }
    }

    /// Plans from here on as if these changes were committed: only for what ends in [`Self::replace`].
    pub async fn stage(&mut self, adds: &[Add], removes: &[Remove]) -> Result<()> {
        self.held.apply(adds, removes);
        self.list().await
    }

    /// Commits what was staged on top of whatever stands there by then, the position as it is. Lost where `touches` names one of the commits made
    /// since, or one of the removed files is gone.
    pub async fn replace(
        &mut self,
        operation: &str,
        adds: Vec<Add>,
        removes: Vec<Remove>,
        info: serde_json::Map<String, serde_json::Value>,
        mut touches: impl FnMut(&LogEntry) -> bool,
    ) -> Result<Landed> {
        for _ in 0..REBASES {
            let writer = self.committer.positions().get(&self.writer_app).copied().unwrap_or(0) + 1;
            let mut info = info.clone();
            info.insert(watermarks::KEY.into(), serde_json::json!(self.held.watermarks()));
            let commit = Commit {
                operation: operation.into(),
                info,
                txns: vec![Txn {
                    app_id: self.writer_app.clone(),
                    version: writer,
                }],
                adds: adds.clone(),
                removes: removes.clone(),
                read_version: Some(self.held_version),
                ..Commit::default()
            };
            match self.committer.commit(commit).await {
                Ok(Outcome::Committed { version }) => return Ok(Landed::At(version)),
                Ok(Outcome::Conflict { .. }) => {}
                Err(error) if error.kind() == ErrorKind::Retry => {}
                Err(error) => return Err(Error::sql("commit a rebuild", error)),
            }
            self.committer.refresh().await.step("read new positions of a table")?;
            while self.held_version < self.committer.version() {
                let entry = log::read(&self.table, self.held_version + 1).await;
                let Some(entry) = entry.step("follow the log of a table")? else {
                    return Ok(Landed::Lost);
                };
                let is_ours = |add: &Add| adds.iter().any(|own| own.path == add.path);
                if entry.adds.iter().any(is_ours) {
                    return Ok(Landed::At(entry.version));
                }
                let is_gone = |remove: &Remove| removes.iter().any(|own| own.path == remove.path);
                if entry.changes_table || touches(&entry) || entry.removes.iter().any(is_gone) {
                    return Ok(Landed::Lost);
                }
                self.held.apply(&entry.adds, &entry.removes);
                self.held_version = entry.version;
            }
        }
        Ok(Landed::Lost)
    }

    /// True when the newest commit is older than `interval`, by its own time.
    pub async fn idle_for(&self, interval: Duration, now_ms: i64) -> Result<bool> {
        let entry = log::read(&self.table, self.held_version)
            .await
            .step("read the newest commit of a table")?;
        let committed_ms = entry.and_then(|entry| entry.info).and_then(|info| info.timestamp);
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Ok(committed_ms.is_none_or(|at| now_ms.saturating_sub(at) >= interval_ms))
    }
}

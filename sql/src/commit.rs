//! Commits: one conditional put of a log entry that carries its own progress as `txn` actions.
//!
//! Two commits that share an app id exclude each other; a writer that finds such a commit in its way stops and re-reads positions. A lease's token
//! is the exception: all commits of its holder carry it, and only a greater one is in the way.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{Action, Add, Remove, Transaction};
use deltalake::logstore::CommitOrBytes;
use serde_json::json;
use uuid::Uuid;

use crate::log::{COMMIT_ID, LogEntry};
use crate::log_state::{LogState, delta_error, read_actions};
use crate::{Error, Result, Table};

/// A writer idle for longer looks whether its newest entry is still there: log clean-up may have passed it (a suspended machine).
const IDLE_LIMIT: TimeDelta = TimeDelta::minutes(10);

/// Progress recorded in a commit: `version` of `app_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
}

/// One commit to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// `WRITE`, `REFRESH`, `OPTIMIZE`, ...: the operation of commitInfo.
    pub operation: String,
    /// Further keys of commitInfo.
    pub info: serde_json::Map<String, serde_json::Value>,
    /// A version equal to the recorded one is allowed: it moves nothing and still excludes commits that share the app id.
    pub txns: Vec<Txn>,
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
    /// The table is partitioned by these columns from here on: `removes` are all its files and `adds` what became of them. The commit before it that
    /// any other writer planned upon is lost, and so is that writer's [`Table`], which says [`Error::Repartitioned`].
    pub partition_columns: Option<Vec<String>>,
    /// The version that `removes` and `txns` were planned from: entries after it are checked for conflicts, whether the committer has seen them or not.
    /// `None`: planned from [`Committer::version`].
    pub read_version: Option<u64>,
    /// Lets positions go backwards: an operator chose where to start over (`--on-lost-position`).
    pub allow_backwards: bool,
}

/// What became of an attempt whose answer is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Committed {
        version: u64,
    },
    /// Another commit holds one of our app ids, removes a file that we remove, or changes metadata or protocol: nothing was written. Re-read and re-plan.
    Conflict {
        version: u64,
        reason: String,
    },
}

/// Appends to one table's log without loading its files. Knows the newest version it has seen and the positions in it.
#[derive(Debug)]
pub struct Committer {
    table: Table,
    state: LogState,
    /// When `state.version` was last known to be in the log.
    seen_at: DateTime<Utc>,
}

impl Committer {
    /// Reads the newest version and its positions.
    pub async fn open(table: &Table) -> Result<Self> {
        let seen_at = table.clock().now();
        let state = table.state().await?;
        state.check_writable(table.name())?;
        let committer = Self {
            table: table.clone(),
            state,
            seen_at,
        };
        committer.check_partitions()?;
        Ok(committer)
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The newest version this committer has seen.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// Positions as of `version()`.
    pub fn positions(&self) -> &HashMap<String, i64> {
        &self.state.positions
    }

    /// Reads commits made since `version()` and takes over their positions.
    pub async fn refresh(&mut self) -> Result<()> {
        if !self.is_current().await? {
            *self = Self::open(&self.table).await?;
            return Ok(());
        }
        if self.take_next().await?.is_some() {
            let next = self.version() + 1;
            self.state
                .catch_up(self.table.name(), self.table.log_store(), next)
                .await?;
            self.state.check_writable(self.table.name())?;
            self.seen_at = self.table.clock().now();
        }
        self.check_partitions()
    }

    /// Files made for the partitions that the table had when it was opened would be misread under others.
    fn check_partitions(&self) -> Result<()> {
        if self.state.partition_columns == self.table.spec().partition_columns {
            return Ok(());
        }
        Err(Error::Repartitioned {
            table: self.table.name().clone(),
            columns: self.state.partition_columns.join(", "),
        })
    }

    /// Puts `commit` after the newest version. Refuses txns that go backwards, and `ErrorKind::Lease` where the table's lease has gone to another. An `Err` of kind Retry means the outcome is unknown: `refresh` and compare positions.
    pub async fn commit(&mut self, commit: Commit) -> Result<Outcome> {
        self.check_lease()?;
        if let Some(conflict) = self.conflict_since_planned(&commit).await? {
            return Ok(conflict);
        }
        self.check_partitions()?;
        self.check(&commit)?;
        if !self.is_current().await? {
            let lost = self.version();
            *self = Self::open(&self.table).await?;
            return Ok(Outcome::Conflict {
                version: self.version(),
                reason: format!("log clean-up has passed version {lost}"),
            });
        }
        let id = Uuid::new_v4();
        let bytes = self.encode(&commit, id)?;
        let mut losses = 0;
        loop {
            self.check_lease()?;
            let version = self.version() + 1;
            let put = CommitOrBytes::LogBytes(bytes.clone());
            match self.table.log_store().write_commit_entry(version, put, id).await {
                Ok(()) => return Ok(self.landed(version, &commit)),
                Err(TransactionError::VersionAlreadyExists(_)) => losses += 1,
                Err(error) => {
                    return Err(delta_error(
                        "unknown outcome of a commit",
                        self.table.name(),
                        error.into(),
                    ));
                }
            }
            // One lost race is the rule with two writers; far behind, read up to the end before the next put.
            while let Some(entry) = self.take_next().await? {
                if entry.commit_id() == Some(id.to_string().as_str()) {
                    // The first put of a repeated request had landed.
                    return Ok(self.landed(entry.version, &commit));
                }
                if let Some(reason) = conflict(&commit, &entry) {
                    return Ok(Outcome::Conflict {
                        version: entry.version,
                        reason,
                    });
                }
                if losses < 2 {
                    break;
                }
            }
            if self.version() + 1 == version {
                let message =
                    format!("version {version} exists but cannot be read: the store does not show what was written");
                return Err(Error::Data {
                    table: self.table.name().clone(),
                    message,
                });
            }
        }
    }

    /// Reads one entry, if there is one.
    async fn take_next(&mut self) -> Result<Option<LogEntry>> {
        let (name, version) = (self.table.name().clone(), self.version() + 1);
        let Some(actions) = read_actions(&name, self.table.log_store(), version).await? else {
            return Ok(None);
        };
        for action in &actions {
            self.state.apply(&name, action.clone())?;
        }
        self.state.version = version;
        self.seen_at = self.table.clock().now();
        let entry = LogEntry::new(version, actions);
        if entry.changes_table {
            self.state.check_writable(&name)?;
        }
        Ok(Some(entry))
    }

    /// Puts after a version that log clean-up has removed would leave a hole and be read by nobody.
    async fn is_current(&mut self) -> Result<bool> {
        let now = self.table.clock().now();
        if now - self.seen_at < IDLE_LIMIT {
            return Ok(true);
        }
        let current = self.table.has_entry(self.version()).await?;
        self.seen_at = now;
        Ok(current)
    }

    async fn conflict_since_planned(&mut self, commit: &Commit) -> Result<Option<Outcome>> {
        let Some(planned) = commit.read_version else {
            return Ok(None);
        };
        // Planned from something newer than this committer has seen: what lies between was in the plan.
        while self.version() < planned && self.take_next().await?.is_some() {}
        for version in planned + 1..=self.version() {
            let Some(entry) = crate::log::read(&self.table, version).await? else {
                break;
            };
            if let Some(reason) = conflict(commit, &entry) {
                return Ok(Some(Outcome::Conflict { version, reason }));
            }
        }
        Ok(None)
    }

    fn check(&self, commit: &Commit) -> Result<()> {
        let refuse = |why: String| Err(Error::Invalid(format!("commit to table {}: {why}", self.table.name())));
        let mut ids = HashSet::new();
        for Txn { app_id, version } in &commit.txns {
            if !ids.insert(app_id) {
                return refuse(format!("app id {app_id} stands twice"));
            }
            match self.positions().get(app_id) {
                Some(recorded) if recorded > version && !commit.allow_backwards => {
                    return refuse(format!(
                        "position of {app_id} would go back from {recorded} to {version}"
                    ));
                }
                _ => {}
            }
        }
        let columns = commit
            .partition_columns
            .as_ref()
            .unwrap_or(&self.state.partition_columns);
        let is_placed = |add: &&Add| {
            add.partition_values.len() == columns.len()
                && columns.iter().all(|column| add.partition_values.contains_key(column))
        };
        if let Some(add) = commit.adds.iter().find(|add| !is_placed(add)) {
            return refuse(format!(
                "file {} has no value for each of {}",
                add.path,
                columns.join(", ")
            ));
        }
        if !commit.removes.is_empty() && commit.txns.is_empty() {
            return refuse("files are removed without an app id: two such commits would not exclude each other".into());
        }
        Ok(())
    }

    /// A holder that was paused until another took over writes nothing, wherever it wakes: the token of its successor stands in the log, or its
    /// own time is over.
    fn check_lease(&self) -> Result<()> {
        let Some(lease) = self.table.lease() else {
            return Ok(());
        };
        let recorded = self.positions().get(lease.app_id()).copied();
        if lease.is_held() && recorded.is_none_or(|recorded| recorded <= lease.token()) {
            return Ok(());
        }
        Err(Error::LeaseLost {
            table: self.table.name().clone(),
            job: lease.job().to_owned(),
            token: lease.token(),
            recorded,
        })
    }

    fn encode(&self, commit: &Commit, id: Uuid) -> Result<Bytes> {
        let now_ms = self.table.clock().now().timestamp_millis();
        let mut info = commit.info.clone();
        info.insert("timestamp".into(), now_ms.into());
        info.insert("operation".into(), commit.operation.clone().into());
        info.insert("operationParameters".into(), json!({}));
        info.insert("engineInfo".into(), crate::ENGINE_INFO.into());
        info.insert(
            "readVersion".into(),
            commit.read_version.unwrap_or(self.version()).into(),
        );
        let is_blind = commit.removes.is_empty() && commit.partition_columns.is_none();
        info.insert("isBlindAppend".into(), is_blind.into());
        info.insert(COMMIT_ID.into(), id.to_string().into());
        let internal = |e: serde_json::Error| Error::Internal(format!("encoding a commit failed: {e}"));
        let mut bytes = Vec::new();
        serde_json::to_writer(&mut bytes, &json!({ "commitInfo": info })).map_err(internal)?;
        if let Some(columns) = &commit.partition_columns {
            let mut metadata = self.state.metadata.clone();
            metadata["partitionColumns"] = columns.as_slice().into();
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, &json!({ "metaData": metadata })).map_err(internal)?;
        }
        let txn = |app_id: &str, version| Action::Txn(Transaction::new_with_last_update(app_id, version, Some(now_ms)));
        let lease = self.table.lease().map(|lease| txn(lease.app_id(), lease.token()));
        let txns = commit.txns.iter().map(|own| txn(&own.app_id, own.version)).chain(lease);
        let removes = commit.removes.iter().cloned().map(Action::Remove);
        let adds = commit.adds.iter().cloned().map(Action::Add);
        for action in txns.chain(removes).chain(adds) {
            bytes.push(b'\n');
            serde_json::to_writer(&mut bytes, &action).map_err(internal)?;
        }
        bytes.push(b'\n');
        Ok(bytes.into())
    }

    fn landed(&mut self, version: u64, commit: &Commit) -> Outcome {
        self.state.version = version;
        self.seen_at = self.table.clock().now();
        for Txn { app_id, version } in &commit.txns {
            self.state.positions.insert(app_id.clone(), *version);
        }
        if let Some(lease) = self.table.lease() {
            self.state.positions.insert(lease.app_id().to_owned(), lease.token());
        }
        if let Some(columns) = &commit.partition_columns {
            self.state.metadata["partitionColumns"] = columns.as_slice().into();
            self.state.partition_columns.clone_from(columns);
        }
        self.table.note_commit(version);
        Outcome::Committed { version }
    }
}

/// Why `commit` cannot follow `entry`, which its planner had not seen.
fn conflict(commit: &Commit, entry: &LogEntry) -> Option<String> {
    if entry.changes_table {
        return Some("it changes the table's metadata or protocol".into());
    }
    if commit.partition_columns.is_some() && !(entry.adds.is_empty() && entry.removes.is_empty()) {
        return Some("it changes the files, all of which are rewritten".into());
    }
    if let Some(txn) = entry
        .txns
        .iter()
        .find(|other| commit.txns.iter().any(|own| own.app_id == other.app_id))
    {
        return Some(format!("it moves {} to {}", txn.app_id, txn.version));
    }
    let removed: HashSet<&str> = entry.removes.iter().map(|r| r.path.as_str()).collect();
    let shared = commit.removes.iter().find(|own| removed.contains(own.path.as_str()));
    shared.map(|file| format!("it removes {} too", file.path))
}

/// The Remove that takes `add` out of the table, with all that a checkpoint and a vacuum want of it.
pub fn removal(add: &Add, removed_at: DateTime<Utc>, data_change: bool) -> Remove {
    Remove {
        path: add.path.clone(),
        data_change,
        deletion_timestamp: Some(removed_at.timestamp_millis()),
        extended_file_metadata: Some(true),
        partition_values: Some(add.partition_values.clone()),
        size: Some(add.size),
        tags: add.tags.clone(),
        deletion_vector: add.deletion_vector.clone(),
        base_row_id: add.base_row_id,
        default_row_commit_version: add.default_row_commit_version,
    }
}

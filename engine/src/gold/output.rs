//! Gold's commits: files, both positions and the watermarks in one, on top of exactly the version that was planned upon.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use serde_json::{Map, Value};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::log::LogEntry;
use ticklake_sql::{ErrorKind, Table, TableName, app_ids, log};

use super::write::Written;
use crate::error::Step;
use crate::watermarks::{self, Watermarks};
use crate::{Error, Result};

/// Tries of a commit whose outcome stays unknown, about 6 s in all; the schedule tries the whole refresh again later.
const COMMIT_TRIES: usize = 6;
/// Entries read backwards in search of what the newest refresh recorded.
const RECORD_ENTRIES: u64 = 1_000;

#[derive(Debug)]
pub struct Output {
    table: Table,
    committer: Committer,
    input_app: String,
    writer_app: String,
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
        let committer = Committer::open(&table).await.step("read the positions of gold")?;
        let (input_app, writer_app) = (app_ids::input(table.name(), input), app_ids::writer(table.name()));
        Ok(Self {
            table,
            committer,
            input_app,
            writer_app,
        })
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn version(&self) -> u64 {
        self.committer.version()
    }

    /// The version of silver up to which gold stands.
    pub fn position(&self) -> Option<u64> {
        self.committer
            .positions()
            .get(&self.input_app)
            .and_then(|version| u64::try_from(*version).ok())
    }

    fn writer(&self) -> i64 {
        self.committer.positions().get(&self.writer_app).copied().unwrap_or(0)
    }

    /// Takes in new commits.
    pub async fn follow(&mut self) -> Result<()> {
        self.committer.refresh().await.step("read new positions of gold")
    }

    /// The watermarks that the newest refresh went by; `None` where the log does not tell.
    pub async fn watermarks(&self) -> Result<Option<Watermarks>> {
        watermarks::at(&self.table, self.version(), RECORD_ENTRIES).await
    }

    /// Commits on top of `planned_at`, moving the position to silver's version `to`. A lost answer is cleared up here.
    pub async fn commit(
        &mut self,
        planned_at: u64,
        to: u64,
        written: Written,
        info: Map<String, Value>,
    ) -> Result<Landed> {
        let writer = self.writer() + 1;
        let input = i64::try_from(to).map_err(|_| Error::Internal("a version of silver beyond i64".into()))?;
        let commit = Commit {
            operation: "REFRESH".into(),
            info,
            txns: vec![
                Txn {
                    app_id: self.input_app.clone(),
                    version: input,
                },
                Txn {
                    app_id: self.writer_app.clone(),
                    version: writer,
                },
            ],
            adds: written.adds,
            removes: written.removes,
            read_version: Some(planned_at),
            ..Commit::default()
        };
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(COMMIT_TRIES)
            .with_jitter()
            .build();
        loop {
            if self.version() != planned_at {
                return Ok(Landed::Lost);
            }
            let error = match self.committer.commit(commit.clone()).await {
                Ok(Outcome::Committed { version }) => return Ok(Landed::At(version)),
                Ok(Outcome::Conflict { version, reason }) => {
                    tracing::info!(table = %self.table.name(), version, reason, "another writer was first, planning again");
                    return Ok(Landed::Lost);
                }
                Err(error) => error,
            };
            if error.kind() != ErrorKind::Retry {
                return Err(Error::sql("commit a refresh", error));
            }
            // The outcome is unknown: the positions tell.
            self.follow().await?;
            if self.position() == Some(to) && self.writer() == writer && self.wrote(planned_at, &commit).await? {
                return Ok(Landed::At(self.version()));
            }
            match delays.next() {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(Error::sql("commit a refresh", error)),
            }
        }
    }

    /// An empty commit, after which no commit of anybody's that was planned before can land.
    pub async fn fence(&mut self) -> Result<Landed> {
        let commit = Commit {
            operation: "TAKE OVER".into(),
            txns: vec![Txn {
                app_id: self.writer_app.clone(),
                version: self.writer() + 1,
            }],
            read_version: Some(self.version()),
            ..Commit::default()
        };
        match self
            .committer
            .commit(commit)
            .await
            .step("take over from another refresh")?
        {
            Outcome::Committed { version } => Ok(Landed::At(version)),
            Outcome::Conflict { .. } => Ok(Landed::Lost),
        }
    }

    /// The entry after `planned_at` is `commit`: equal positions alone may be those of another refresh.
    async fn wrote(&self, planned_at: u64, commit: &Commit) -> Result<bool> {
        let entry: Option<LogEntry> = log::read(&self.table, planned_at + 1)
            .await
            .step("read the newest commit of gold")?;
        let paths = |adds: &[deltalake::kernel::Add]| adds.iter().map(|add| add.path.clone()).collect::<Vec<_>>();
        Ok(entry.is_some_and(|entry| paths(&entry.adds) == paths(&commit.adds)))
    }

    /// True when the newest commit is older than `interval`, by its own time.
    pub async fn idle_for(&self, interval: Duration, now_ms: i64) -> Result<bool> {
        let entry = log::read(&self.table, self.version())
            .await
            .step("read the newest commit of gold")?;
        let committed_ms = entry.and_then(|entry| entry.info).and_then(|info| info.timestamp);
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Ok(committed_ms.is_none_or(|at| now_ms.saturating_sub(at) >= interval_ms))
    }
}

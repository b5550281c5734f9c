//! One open Delta table.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::kernel::Add;
use deltalake::logstore::{LogStoreRef, commit_uri_from_version};
use tokio::sync::watch;

use crate::ddl::TableSpec;
use crate::log_state::{LogState, checkpoint_hint, delta_error, exists};
use crate::tip::Tip;
use crate::{Clock, Error, Lake, Lease, Result, TableName, app_ids};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {
    lake: Lake,
    spec: Arc<TableSpec>,
    log_store: LogStoreRef,
    tip: Arc<Tip>,
}

impl Table {
    pub(crate) fn new(lake: Lake, spec: Arc<TableSpec>, log_store: LogStoreRef, tip: Arc<Tip>) -> Self {
        Self {
            lake,
            spec,
            log_store,
            tip,
        }
    }

    pub fn name(&self) -> &TableName {
        &self.spec.name
    }
    /// The definition, with the partition columns that this table had when it was opened.
    pub fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }
    pub fn lake(&self) -> &Lake {
        &self.lake
    }
    pub fn log_store(&self) -> &LogStoreRef {
        &self.log_store
    }
    /// What every commit of this table stands under.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lake.lease()
    }
    pub(crate) fn clock(&self) -> &Clock {
        self.lake.clock()
    }

    /// The same table as it would be partitioned by `columns`: for files that a commit of these columns brings in.
    pub fn partitioned_by(&self, columns: &[String]) -> Result<Self> {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        Ok(Self {
            spec: Arc::new(self.spec.partitioned_by(&columns)?),
            ..self.clone()
        })
    }

    /// Positions and partition columns at `version`. `Error::Data` where log clean-up has left no way to tell.
    pub async fn stood_at(&self, version: u64) -> Result<(HashMap<String, i64>, Vec<String>)> {
        let state = LogState::read_at(self.name(), &self.log_store, version).await?;
        Ok((state.positions, state.partition_columns))
    }

    /// Loads the state at `version`, or the newest. Costs a log replay: writers use [`crate::commit::Committer`], tailers [`crate::log`].
    pub async fn load(&self, version: Option<u64>) -> Result<DeltaTable> {
        let mut table = DeltaTable::new(self.log_store.clone());
        let loaded = match version {
            Some(version) => table.load_version(version).await,
            None => table.load().await,
        };
        loaded.map_err(|e| delta_error("cannot load the state", self.name(), e))?;
        Ok(table)
    }

    /// The active data files at `version`, or the newest, and which that is; statistics and tags as they stand in the log. Costs what
    /// [`Self::load`] does.
    pub async fn files(&self, version: Option<u64>) -> Result<(u64, Vec<Add>)> {
        let loaded = self.load(version).await?;
        let snapshot = loaded
            .snapshot()
            .map_err(|e| delta_error("cannot read the state", self.name(), e))?;
        // The one public way to the tags of a file.
        #[allow(deprecated)]
        let adds = snapshot.log_data().iter().map(|file| file.add_action()).collect();
        Ok((snapshot.version(), adds))
    }

    /// Newest version, probing upwards from `from` (a version known to exist) without a listing.
    pub async fn latest_version(&self, from: Option<u64>) -> Result<u64> {
        let from = match from {
            Some(from) => from,
            None => checkpoint_hint(&self.log_store)
                .await?
                .map_or(0, |checkpoint| checkpoint.version),
        };
        // Gallop while entries are there, then halve the span: a log has no holes above a version that exists.
        let (mut newest, mut step) = (from, 1);
        while self.has_entry(newest + step).await? {
            newest += step;
            step *= 2;
        }
        while step > 1 {
            step /= 2;
            if self.has_entry(newest + step).await? {
                newest += step;
            }
        }
        Ok(newest)
    }

    /// All txn positions (app id -> version) at the newest version, and that version.
    pub async fn positions(&self) -> Result<(u64, HashMap<String, i64>)> {
        let state = self.state().await?;
        Ok((state.version, state.positions))
    }

    /// The newest version of `input` that this table, which is derived from it, records as read; `None` before the first.
    pub async fn read_to(&self, input: &TableName) -> Result<Option<u64>> {
        let (_, positions) = self.positions().await?;
        let position = positions.get(&app_ids::input(self.name(), input));
        Ok(position.and_then(|version| u64::try_from(*version).ok()))
    }

    /// Newest version committed by this process's own writers; wakes refreshes and snapshots without polling.
    /// Starts at the version found when this process first opened the table.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.tip.committed()
    }

    pub(crate) fn note_commit(&self, version: u64) {
        self.tip.commit(version, self.clock().now());
    }

    /// What this process knows of the log's end.
    pub(crate) fn tip(&self) -> &Tip {
        &self.tip
    }

    pub(crate) async fn state(&self) -> Result<LogState> {
        let lake = || self.lake.uri().to_owned();
        let state = LogState::read(self.name(), &self.log_store).await?;
        state.ok_or_else(|| Error::TableNotFound {
            table: self.name().clone(),
            lake: lake(),
        })
    }

    /// Whether version `version` stands in the log, as the store says.
    pub async fn has_entry(&self, version: u64) -> Result<bool> {
        exists(&self.log_store, &commit_uri_from_version(Some(version))).await
    }
}

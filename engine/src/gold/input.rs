//! Silver as gold reads it: its active files, and what changed in them since the last version that gold has seen.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveTime};
use deltalake::kernel::Remove;
use ticklake_sql::log::LogEntry;
use ticklake_sql::{ErrorKind, Table, app_ids, log};

use super::files::Files;
use crate::error::Step;
use crate::maintenance::{low_water, retention};
use crate::scan::DataFile;
use crate::watermarks::{self, Watermarks};
use crate::{Error, Result};

/// Entries read backwards in search of the watermarks before they are computed from the rows.
const WATERMARK_ENTRIES: u64 = 200;

/// Data-changing files of one version of silver.
#[derive(Debug)]
struct Change {
    version: u64,
    added: Vec<Arc<DataFile>>,
    removed: Vec<Arc<DataFile>>,
}

/// What gold has to take in.
#[derive(Debug, Default)]
pub struct News {
    pub added: Vec<Arc<DataFile>>,
    pub removed: Vec<Arc<DataFile>>,
    /// Nothing is known of what gold stands on: everything is news.
    pub everything: bool,
}

#[derive(Debug)]
pub struct Input {
    table: Table,
    files: Files,
    /// The version that `files` stands at.
    version: u64,
    changes: VecDeque<Change>,
    everything: bool,
    /// As of `version`, where some commit told.
    watermarks: Option<Watermarks>,
    /// First date of silver that is whole, where retention has taken out others.
    low_water: Option<NaiveDate>,
}

impl Input {
    /// Reads silver's newest version, and what changed after `position`.
    pub async fn open(table: Table, position: Option<u64>) -> Result<Self> {
        let version = table
            .latest_version(position)
            .await
            .step("find the newest version of silver")?;
        let files = Files::load(&table, version).await?;
        let mut input = Self {
            files,
            version,
            changes: VecDeque::new(),
            everything: position.is_none(),
            watermarks: None,
            low_water: None,
            table,
        };
        let (_, positions) = input.table.positions().await.step("read the positions of silver")?;
        input.low_water = low_water::of(input.table.name(), &positions);
        if let Some(position) = position {
            input.catch_up(position).await?;
        }
        input.watermarks = watermarks::at(&input.table, input.version, WATERMARK_ENTRIES).await?;
        Ok(input)
    }

    /// Changes between gold's position and the loaded version, out of the log.
    async fn catch_up(&mut self, position: u64) -> Result<()> {
        for version in position + 1..=self.version {
            match log::read(&self.table, version).await {
                Ok(Some(entry)) => {
                    let removed: Vec<_> = removes(&entry).map(|remove| self.removed(remove)).collect();
                    self.note(&entry, removed);
                }
                Err(error) if error.kind() != ErrorKind::Data => {
                    return Err(Error::sql("read the log of silver", error));
                }
                Ok(None) | Err(_) => {
                    tracing::warn!(table = %self.table.name(), position, version, "the log goes back less far than gold's position: every bar is computed again");
                    self.everything = true;
                    self.changes.clear();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes in what was committed since the last call.
    pub async fn follow(&mut self) -> Result<()> {
        loop {
            match log::read(&self.table, self.version + 1).await {
                Ok(Some(entry)) => self.take(entry),
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Data => {
                    let position = self
                        .changes
                        .front()
                        .map_or(self.version, |change| change.version.saturating_sub(1));
                    *self = Self::open(self.table.clone(), Some(position)).await?;
                    return Ok(());
                }
                Err(source) => return Err(Error::sql("read the log of silver", source)),
            }
        }
    }

    fn take(&mut self, entry: LogEntry) {
        let unknown: Vec<_> = removes(&entry)
            .filter(|remove| self.files.get(&remove.path).is_none())
            .map(|remove| self.removed(remove))
            .collect();
        let wanted: Vec<String> = removes(&entry).map(|remove| remove.path.clone()).collect();
        let mut removed: Vec<_> = wanted.iter().filter_map(|path| self.files.get(path).cloned()).collect();
        removed.extend(unknown);
        self.files.apply(&entry.adds, &entry.removes, self.table.spec());
        self.version = entry.version;
        let mark = app_ids::low_water(self.table.name());
        if let Some(txn) = entry.txns.iter().find(|txn| txn.app_id == mark) {
            self.low_water = low_water::date(txn.version);
        }
        if let Some(watermarks) = watermarks::of(&entry) {
            self.watermarks = Some(watermarks);
        }
        self.note(&entry, removed);
    }

    fn note(&mut self, entry: &LogEntry, removed: Vec<Arc<DataFile>>) {
        let added = entry
            .adds
            .iter()
            .filter(|add| add.data_change)
            .map(|add| Arc::new(DataFile::new(add.clone(), self.table.spec())));
        let change = Change {
            version: entry.version,
            added: added.collect(),
            removed,
        };
        if !change.added.is_empty() || !change.removed.is_empty() {
            self.changes.push_back(change);
        }
    }

    /// A removed file of which only the Remove is left: its rows are there until vacuum, its statistics are not.
    fn removed(&self, remove: &Remove) -> Arc<DataFile> {
        let add = deltalake::kernel::Add {
            path: remove.path.clone(),
            partition_values: remove.partition_values.clone().unwrap_or_default(),
            size: remove.size.unwrap_or(0),
            ..Default::default()
        };
        Arc::new(DataFile::new(add, self.table.spec()))
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    pub fn watermarks(&self) -> Option<&Watermarks> {
        self.watermarks.as_ref()
    }

    /// Bars of windows before this stand on trades that are gone, microseconds.
    pub fn whole_from(&self) -> Option<i64> {
        let date = self.low_water?;
        Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
    }

    /// What changed above gold's position.
    pub fn news(&self) -> News {
        News {
            added: self
                .changes
                .iter()
                .flat_map(|change| change.added.iter().cloned())
                .collect(),
            removed: self
                .changes
                .iter()
                .flat_map(|change| change.removed.iter().cloned())
                .collect(),
            everything: self.everything,
        }
    }

    /// Gold stands at `position` now.
    pub fn forget(&mut self, position: u64) {
        self.everything = false;
        self.changes.retain(|change| change.version > position);
    }
}

/// The removes that take rows away.
fn removes(entry: &LogEntry) -> impl Iterator<Item = &Remove> {
    let is_retention = retention::made(entry);
    entry
        .removes
        .iter()
        .filter(move |remove| remove.data_change && !is_retention)
}

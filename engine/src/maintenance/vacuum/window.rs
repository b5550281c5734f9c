//! What must stay: files of every version inside the time-travel window, and of every version that something derived has still to read.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deltalake::DeltaTable;
use deltalake::table::config::TablePropertiesExt;
use futures::TryStreamExt;
use ticklake_sql::Table;

use super::VacuumOptions;
use crate::error::Step;
use crate::maintenance::active::unreadable;
use crate::maintenance::entries::{committed_at, entries, entry};
use crate::maintenance::lineage::first_unread;
use crate::{Error, Result};

/// Where nothing is set and the table keeps removed files for longer.
const TIME_TRAVEL: Duration = Duration::from_secs(5 * 24 * 3600);

#[derive(Debug)]
pub struct Window {
    /// Files taken out before this moment are in no version inside the window.
    pub before: DateTime<Utc>,
    /// The newest version, whose files all stay.
    pub version: u64,
    /// The first version that something derived has not read; files that this or a later one takes out stay.
    pub unread: Option<u64>,
    /// Active files, and files that were taken out too lately.
    needed: HashSet<String>,
    /// Files that something derived has still to read.
    owed: HashSet<String>,
}

impl Window {
    pub async fn of(table: &Table, tables: &[Table], options: &VacuumOptions) -> Result<Self> {
        let now = table.lake().clock().now();
        let loaded = table.load(None).await.step("load the files of a table")?;
        let state = loaded.snapshot().map_err(|source| unreadable(table, source))?;
        let kept = state.table_config().deleted_file_retention_duration();
        let time_travel = options.time_travel.unwrap_or_else(|| kept.min(TIME_TRAVEL));
        if time_travel < options.floor || time_travel > kept {
            return Err(Error::Invalid(format!(
                "vacuum.time_travel is {}; table {} takes from {}, above the longest query, to {}, its delta.deletedFileRetentionDuration",
                humantime::format_duration(time_travel),
                table.name(),
                humantime::format_duration(options.floor),
                humantime::format_duration(kept),
            )));
        }
        let mut window = Self {
            before: now - TimeDelta::from_std(time_travel).unwrap_or(TimeDelta::MAX),
            version: state.version(),
            unread: first_unread(table, tables).await?,
            needed: HashSet::new(),
            owed: HashSet::new(),
        };
        window.go_back_to_readers(table).await?;
        window.need(table, &loaded).await?;
        Ok(window)
    }

    /// The version that something derived stands at may be older than the window: then the window begins there.
    async fn go_back_to_readers(&mut self, table: &Table) -> Result<()> {
        let Some(unread) = self.unread else { return Ok(()) };
        if let Some(position) = unread.checked_sub(1)
            && let Some(at) = committed_at(entry(table, position).await?.as_ref())
        {
            // What it took out itself is not in it.
            self.before = self.before.min(at + TimeDelta::milliseconds(1));
        }
        let mut entries = entries(table, unread, self.version);
        while let Some((_, entry)) = entries.try_next().await? {
            let Some(entry) = entry else { continue };
            self.owed.extend(entry.removes.into_iter().map(|remove| remove.path));
            self.owed.extend(entry.adds.into_iter().map(|add| add.path));
        }
        Ok(())
    }

    async fn need(&mut self, table: &Table, loaded: &DeltaTable) -> Result<()> {
        let failed = |source| unreadable(table, source);
        let state = loaded.snapshot().map_err(failed)?;
        self.needed
            .extend(state.log_data().iter().map(|file| file.path().into_owned()));
        let before_ms = self.before.timestamp_millis();
        let log_store = table.log_store();
        let mut tombstones = state.all_tombstones(log_store.as_ref());
        while let Some(tombstone) = tombstones.try_next().await.map_err(failed)? {
            if tombstone.deletion_timestamp().is_none_or(|at| at >= before_ms) {
                self.needed.insert(tombstone.path().into_owned());
            }
        }
        Ok(())
    }

    /// Nothing inside the window needs it.
    pub fn has_left(&self, path: &str) -> bool {
        !self.needed.contains(path)
    }

    /// Something derived has still to read it.
    pub fn is_owed(&self, path: &str) -> bool {
        self.owed.contains(path)
    }
}

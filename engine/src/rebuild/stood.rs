//! What a rebuild was made from: a table at one version, and its files that may hold rows of the range. A commit made since is in the way of the
//! result where it changes rows that may lie in the range, and only there.

use std::collections::BTreeSet;
use std::sync::Arc;

use ticklake_sql::ddl::TableSpec;
use ticklake_sql::log::LogEntry;
use ticklake_sql::{Table, log};

use super::range::RebuildRange;
use crate::Result;
use crate::error::Step;
use crate::gold::Files;
use crate::scan::DataFile;

#[derive(Debug, Clone)]
pub(crate) struct Stood {
    version: u64,
    files: BTreeSet<String>,
}

impl Stood {
    pub fn new<'a>(version: u64, files: impl Iterator<Item = &'a Arc<DataFile>>, range: &RebuildRange) -> Self {
        let may_hold = files.filter(|file| range.may_hold(file));
        Self {
            version,
            files: may_hold.map(|file| file.add.path.clone()).collect(),
        }
    }

    pub async fn load(table: &Table, version: u64, range: &RebuildRange) -> Result<Self> {
        Ok(Self::new(version, Files::load(table, version).await?.iter(), range))
    }

    /// Takes over the next entry; true where it changes rows that may lie in the range.
    pub fn is_changed_by(&mut self, entry: &LogEntry, spec: &TableSpec, range: &RebuildRange) -> bool {
        self.version = entry.version;
        let may_hold = |add: &&deltalake::kernel::Add| range.may_hold(&DataFile::new((*add).clone(), spec));
        for add in entry.adds.iter().filter(may_hold) {
            if add.data_change {
                return true;
            }
            // Merged: the same rows in another file.
            self.files.insert(add.path.clone());
        }
        let mut removed = entry.removes.iter().filter(|remove| remove.data_change);
        removed.any(|remove| self.files.contains(&remove.path))
    }

    /// Some commit up to version `to` has changed rows that may lie in the range, or the log no longer tells.
    pub async fn has_changed(&mut self, table: &Table, to: u64, range: &RebuildRange) -> Result<bool> {
        while self.version < to {
            let entry = log::read(table, self.version + 1).await;
            let Some(entry) = entry.step("read what others have committed")? else {
                return Ok(true);
            };
            if self.is_changed_by(&entry, table.spec(), range) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

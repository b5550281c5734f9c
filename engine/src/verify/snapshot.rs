//! A table pinned at one version: its positions there and the Adds of its active files.

use std::collections::HashMap;

use deltalake::kernel::Add;
use ticklake_sql::{Lake, Table, TableName, app_ids, log};

use crate::error::Step;
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub struct Snapshot {
    pub table: Table,
    pub version: u64,
    /// App id -> version, as of `version` or a little later.
    pub positions: HashMap<String, i64>,
    pub adds: Vec<Add>,
}

impl Snapshot {
    /// The newest version; `None` where the table does not exist.
    pub async fn newest(lake: &Lake, name: &TableName) -> Result<Option<Self>> {
        let Some(table) = lake.find_table(name).await.step("open a table")? else {
            return Ok(None);
        };
        let (version, positions) = table.positions().await.step("read the positions of a table")?;
        let adds = adds(&table, version).await?;
        Ok(Some(Self {
            table,
            version,
            positions,
            adds,
        }))
    }

    /// One version of a table, without its positions.
    pub async fn pinned(table: &Table, version: u64) -> Result<Self> {
        Ok(Self {
            table: table.clone(),
            version,
            positions: HashMap::new(),
            adds: adds(table, version).await?,
        })
    }

    /// The same table at another version.
    pub async fn at(&self, version: u64) -> Result<Self> {
        let adds = if version == self.version {
            self.adds.clone()
        } else {
            adds(&self.table, version).await?
        };
        Ok(Self {
            table: self.table.clone(),
            version,
            positions: self.positions.clone(),
            adds,
        })
    }

    /// The newest version whose position in `input` is not beyond `limit`: a side table may be ahead of its main table.
    pub async fn not_beyond(self, input: &TableName, limit: Option<u64>) -> Result<Self> {
        let limit = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        let app_id = app_ids::input(self.table.name(), input);
        if self.positions.get(&app_id).is_none_or(|position| *position <= limit) {
            return Ok(self);
        }
        let mut first_beyond = self.version;
        for version in (0..=self.version).rev() {
            let entry = log::read(&self.table, version).await.step("read the log of a table")?;
            let moved = entry.and_then(|entry| entry.txns.into_iter().find(|txn| txn.app_id == app_id));
            match moved {
                Some(txn) if txn.version > limit => first_beyond = version,
                Some(_) => break,
                None => {}
            }
        }
        let version = first_beyond.checked_sub(1).ok_or_else(|| Error::Data {
            table: self.table.name().clone(),
            message: "its log does not show where it stood".into(),
        })?;
        self.at(version).await
    }

    /// Version of `input` that this table has read.
    pub fn position(&self, input: &TableName) -> Option<u64> {
        self.positions
            .get(&app_ids::input(self.table.name(), input))
            .and_then(|version| u64::try_from(*version).ok())
    }

    pub fn rows(&self) -> u64 {
        self.adds.iter().filter_map(rows).sum()
    }
}

/// Rows of a file as its Add tells.
pub fn rows(add: &Add) -> Option<u64> {
    let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    stats.get("numRecords")?.as_u64()
}

async fn adds(table: &Table, version: u64) -> Result<Vec<Add>> {
    let (_, adds) = table.files(Some(version)).await.step("load the files of a table")?;
    Ok(adds)
}

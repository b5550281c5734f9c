//! What one run did to a table's layout, or would do.

use std::time::Duration;

use serde_json::{Value, json};
use ticklake_sql::{Table, TableName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterReport {
    pub table: TableName,
    /// What the table was partitioned by.
    pub from: Vec<String>,
    /// What it is partitioned by now, where that is something else.
    pub to: Option<Vec<String>>,
    /// Files rewritten, and what became of them.
    pub files_removed: u64,
    pub files_added: u64,
    pub bytes_removed: u64,
    pub bytes_added: u64,
    pub rows: u64,
    /// Of the rows in any order and layout: the same before and after.
    pub checksum: u64,
    pub commits: u64,
    /// Rewritten and thrown away, because another writer took out one of the files meanwhile: done again.
    pub lost: u64,
    /// Version of the last commit.
    pub version: Option<u64>,
    /// Nothing was done: the figures are a plan.
    pub dry_run: bool,
    pub elapsed: Duration,
}

impl ClusterReport {
    pub fn new(table: &Table, dry_run: bool) -> Self {
        Self {
            table: table.name().clone(),
            from: table.spec().partition_columns.clone(),
            to: None,
            files_removed: 0,
            files_added: 0,
            bytes_removed: 0,
            bytes_added: 0,
            rows: 0,
            checksum: 0,
            commits: 0,
            lost: 0,
            version: None,
            dry_run,
            elapsed: Duration::ZERO,
        }
    }

    /// The table was as it is meant to be.
    pub fn is_empty(&self) -> bool {
        self.to.is_none() && self.files_removed == 0
    }

    pub fn to_json(&self) -> Value {
        json!({
            "table": self.table.to_string(),
            "partitioned_from": self.from,
            "partitioned_to": self.to,
            "files_removed": self.files_removed,
            "files_added": self.files_added,
            "bytes_removed": self.bytes_removed,
            "bytes_added": self.bytes_added,
            "rows": self.rows,
            "checksum": format!("{:016x}", self.checksum),
            "commits": self.commits,
            "lost": self.lost,
            "version": self.version,
            "dry_run": self.dry_run,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// One structured event a run that did something.
    pub fn log(&self) {
        tracing::info!(
            table = %self.table,
            from = self.from.join(", "),
            to = self.to.as_deref().map(|to| to.join(", ")),
            files_removed = self.files_removed,
            files_added = self.files_added,
            rows = self.rows,
            lost = self.lost,
            version = self.version,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "clustered"
        );
    }
}

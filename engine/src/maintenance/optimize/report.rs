//! What one run of optimize did, or would do.

use std::time::Duration;

use serde_json::{Value, json};
use ticklake_sql::TableName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptimizeReport {
    pub table: TableName,
    /// Small files merged, and what became of them.
    pub files_removed: u64,
    pub files_added: u64,
    pub bytes_removed: u64,
    pub bytes_added: u64,
    pub rows: u64,
    pub commits: u64,
    /// Merges thrown away because another writer took out one of their files: planned again.
    pub lost: u64,
    /// Version of the last commit.
    pub version: Option<u64>,
    /// Nothing was done: the figures are a plan, without what the merged files will take.
    pub dry_run: bool,
    pub elapsed: Duration,
}

impl OptimizeReport {
    pub fn new(table: TableName, dry_run: bool) -> Self {
        Self {
            table,
            files_removed: 0,
            files_added: 0,
            bytes_removed: 0,
            bytes_added: 0,
            rows: 0,
            commits: 0,
            lost: 0,
            version: None,
            dry_run,
            elapsed: Duration::ZERO,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "table": self.table.to_string(),
            "files_removed": self.files_removed,
            "files_added": self.files_added,
            "bytes_removed": self.bytes_removed,
            "bytes_added": self.bytes_added,
            "rows": self.rows,
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
            files_removed = self.files_removed,
            files_added = self.files_added,
            bytes_removed = self.bytes_removed,
            bytes_added = self.bytes_added,
            rows = self.rows,
            commits = self.commits,
            lost = self.lost,
            version = self.version,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "optimized"
        );
    }
}

//! What one run of vacuum deleted, or would delete.

use std::time::Duration;

use serde_json::{Value, json};
use ticklake_sql::TableName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumReport {
    pub table: TableName,
    /// Every object of the table was listed.
    pub full: bool,
    pub files: u64,
    pub bytes: u64,
    /// Files that had left the window and stayed: something derived has still to read them.
    pub held_back: u64,
    /// Log entries up to here are done with.
    pub done_to: Option<u64>,
    pub dry_run: bool,
    pub elapsed: Duration,
}

impl VacuumReport {
    pub fn new(table: TableName, dry_run: bool) -> Self {
        Self {
            table,
            full: false,
            files: 0,
            bytes: 0,
            held_back: 0,
            done_to: None,
            dry_run,
            elapsed: Duration::ZERO,
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "table": self.table.to_string(),
            "full": self.full,
            "files": self.files,
            "bytes": self.bytes,
            "held_back": self.held_back,
            "done_to": self.done_to,
            "dry_run": self.dry_run,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    pub fn log(&self, message: &'static str) {
        tracing::info!(
            table = %self.table,
            full = self.full,
            files = self.files,
            bytes = self.bytes,
            held_back = self.held_back,
            done_to = self.done_to,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            message
        );
    }
}

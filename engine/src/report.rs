//! What one refresh did: the return value of every job, the source of its log line and of its counters.

use std::time::Duration;

use serde_json::{Value, json};
use ticklake_sql::TableName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshReport {
    /// The refreshed table.
    pub table: TableName,
    /// Input rows read.
    pub rows_in: u64,
    /// Rows written to the table.
    pub rows_out: u64,
    /// Rows set aside with the name of a rule.
    pub quarantined: u64,
    /// Rows that repeat one already held, dropped.
    pub repeats: u64,
    /// Rows of the table replaced by a lesser repeat (silver) or by a newer revision (gold).
    pub superseded: u64,
    /// Data files added and removed.
    pub files_added: u64,
    pub files_removed: u64,
    /// Input versions read: above `from` (`None`: from the first), up to and with `to`. Equal when nothing was new.
    pub input_from: Option<u64>,
    pub input_to: Option<u64>,
    /// Newest version of the table that this refresh committed; `None` where it had no effect.
    pub version: Option<u64>,
    pub commits: u64,
    pub elapsed: Duration,
}

impl RefreshReport {
    pub fn new(table: TableName) -> Self {
        Self {
            table,
            rows_in: 0,
            rows_out: 0,
            quarantined: 0,
            repeats: 0,
            superseded: 0,
            files_added: 0,
            files_removed: 0,
            input_from: None,
            input_to: None,
            version: None,
            commits: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// The refresh changed something that a query sees.
    pub fn changed(&self) -> bool {
        self.files_added + self.files_removed > 0
    }

    pub fn to_json(&self) -> Value {
        json!({
            "table": self.table.to_string(),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "quarantined": self.quarantined,
            "repeats": self.repeats,
            "superseded": self.superseded,
            "files_added": self.files_added,
            "files_removed": self.files_removed,
            "input_from": self.input_from,
            "input_to": self.input_to,
            "version": self.version,
            "commits": self.commits,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// One structured event a refresh.
    pub fn log(&self) {
        tracing::info!(
            table = %self.table,
            rows_in = self.rows_in,
            rows_out = self.rows_out,
            quarantined = self.quarantined,
            repeats = self.repeats,
            superseded = self.superseded,
            files_added = self.files_added,
            files_removed = self.files_removed,
            input_version = self.input_to,
            version = self.version,
            elapsed_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "refreshed"
        );
    }
}

//! How long a table can be read as it was.

use std::collections::BTreeMap;
use std::time::Duration;

/// Set when a table is created, in place of what its definition says; a table that exists keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Files that a commit took out are not deleted for this long, and checkpoints name them as long: `delta.deletedFileRetentionDuration`.
    pub removed_files: Duration,
    /// Log entries and checkpoints stay this long, more than `removed_files`, so that vacuum finds in them what to delete: `delta.logRetentionDuration`.
    pub log: Duration,
}

impl History {
    pub(crate) fn write_to(self, properties: &mut BTreeMap<String, String>) {
        for (key, kept) in [
            ("delta.deletedFileRetentionDuration", self.removed_files),
            ("delta.logRetentionDuration", self.log),
        ] {
            properties.insert(key.to_owned(), format!("interval {} seconds", kept.as_secs()));
        }
    }
}

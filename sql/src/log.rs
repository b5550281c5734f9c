//! Reading a table's log forwards, one commit file at a time: what a refresh and a snapshot follow.

use deltalake::kernel::{Add, CommitInfo, Remove};

use crate::commit::Txn;
use crate::{Error, Result, Table};

/// The actions of one committed version.
#[derive(Debug, Clone, Default)]
pub struct LogEntry {
    pub version: u64,
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
    pub txns: Vec<Txn>,
    pub info: Option<CommitInfo>,
    /// The entry changes metadata or protocol.
    pub changes_table: bool,
}

/// Reads version `version`; `None` where it does not exist yet. A version below the log's start is `Error::Data`.
pub async fn read(_table: &Table, _version: u64) -> Result<Option<LogEntry>> {
    Err(Error::Internal("not built yet".into()))
}

/// Writes a checkpoint at the newest version and removes expired log entries older than it, keeping every version from `keep_from`. Own task, never on the commit path.
pub async fn checkpoint(_table: &Table, _keep_from: Option<u64>) -> Result<()> {
    Err(Error::Internal("not built yet".into()))
}

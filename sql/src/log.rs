//! Reading a table's log forwards, one commit file at a time: what a refresh and a snapshot follow.

use deltalake::kernel::{Action, Add, CommitInfo, Remove};

pub use crate::checkpoint::{checkpoint, checkpoint_is_due, checkpoint_when_due, keep_checkpointed};
use crate::commit::Txn;
use crate::log_state::{LastCheckpoint, checkpoint_hint, read_actions};
use crate::{Error, Result, Table};

/// Key of commitInfo that tells a commit of ours from every other one, also when the answer to its put was lost.
pub(crate) const COMMIT_ID: &str = "ticklakeCommit";

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

impl LogEntry {
    pub(crate) fn new(version: u64, actions: Vec<Action>) -> Self {
        let mut entry = Self {
            version,
            ..Default::default()
        };
        for action in actions {
            match action {
                Action::Add(add) => entry.adds.push(add),
                Action::Remove(remove) => entry.removes.push(remove),
                Action::Txn(txn) => entry.txns.push(Txn {
                    app_id: txn.app_id,
                    version: txn.version,
                }),
                Action::CommitInfo(info) => entry.info = Some(info),
                Action::Metadata(_) | Action::Protocol(_) => entry.changes_table = true,
                Action::Cdc(_) | Action::DomainMetadata(_) => {}
            }
        }
        entry
    }

    /// A key of commitInfo beyond Delta's own, e.g. one given in [`crate::commit::Commit::info`].
    pub fn info_value(&self, key: &str) -> Option<&serde_json::Value> {
        self.info.as_ref()?.info.get(key)
    }

    pub(crate) fn commit_id(&self) -> Option<&str> {
        self.info_value(COMMIT_ID)?.as_str()
    }
}

/// Reads version `version`; `None` where it does not exist yet. A version below the log's start is `Error::Data`.
pub async fn read(table: &Table, version: u64) -> Result<Option<LogEntry>> {
    let (tip, asked_at) = (table.tip(), table.clock().now());
    if let Some(actions) = read_actions(table.name(), table.log_store(), version).await? {
        tip.read(version);
        return Ok(Some(LogEntry::new(version, actions)));
    }
    // Its predecessor there: not written yet. Else a checkpoint above it says that it was cleaned up.
    if let Some(before) = version.checked_sub(1)
        && (tip.is_at(before, asked_at) || table.has_entry(before).await?)
    {
        tip.found(before, asked_at);
        return Ok(None);
    }
    match checkpoint_hint(table.log_store()).await? {
        Some(LastCheckpoint {
            version: checkpoint, ..
        }) if checkpoint >= version => Err(Error::Data {
            table: table.name().clone(),
            message: format!(
                "version {version} was removed from the log, which goes back to version {checkpoint} at least; rebuild what is derived from it"
            ),
        }),
        _ => Ok(None),
    }
}

//! Commits: one conditional put of a log entry that carries its own progress as `txn` actions.
//!
//! Two commits that share an app id exclude each other; a writer that finds such a commit in its way stops and re-reads positions.

use std::collections::HashMap;

use deltalake::kernel::{Add, Remove};

use crate::{Error, Result, Table};

/// Progress recorded in a commit: `version` of `app_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
}

/// One commit to be.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// `WRITE`, `REFRESH`, `OPTIMIZE`, ...: the operation of commitInfo.
    pub operation: String,
    /// Further keys of commitInfo.
    pub info: serde_json::Map<String, serde_json::Value>,
    pub txns: Vec<Txn>,
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
}

/// What became of an attempt whose answer is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Committed { version: u64 },
    /// Another commit holds one of our app ids, removes a file that we remove, or changes metadata or protocol: nothing was written. Re-read and re-plan.
    Conflict { version: u64, reason: String },
}

/// Appends to one table's log without loading its files. Knows the newest version it has seen and the positions in it.
#[derive(Debug)]
pub struct Committer {}

impl Committer {
    /// Reads the newest version and its positions.
    pub async fn open(_table: &Table) -> Result<Self> {
        Err(Error::Internal("not built yet".into()))
    }
    pub fn table(&self) -> &Table {
        unimplemented!()
    }
    /// The newest version this committer has seen.
    pub fn version(&self) -> u64 {
        0
    }
    /// Positions as of `version()`.
    pub fn positions(&self) -> &HashMap<String, i64> {
        unimplemented!()
    }
    /// Reads commits made since `version()` and takes over their positions.
    pub async fn refresh(&mut self) -> Result<()> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Puts `commit` after the newest version. Refuses txns that go backwards. An `Err` of kind Retry means the outcome is unknown: `refresh` and compare positions.
    pub async fn commit(&mut self, _commit: Commit) -> Result<Outcome> {
        Err(Error::Internal("not built yet".into()))
    }
}

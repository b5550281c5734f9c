//! A lake: the folder or bucket prefix under which every table lies, and the one place that opens or creates them.

use std::collections::BTreeMap;

use crate::{Clock, Error, Result, Table, TableName};

/// How a write to local disk is made durable before it counts as done. Object stores are durable by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// fsync data files and their folder before the commit, and the commit after it.
    #[default]
    Sync,
    /// Leave it to the operating system: survives a crash of the process, not of the machine.
    Os,
}

#[derive(Debug, Clone, Default)]
pub struct LakeOptions {
    /// object_store keys, e.g. `aws_endpoint`, `aws_access_key_id`, `aws_allow_http`.
    pub storage: BTreeMap<String, String>,
    pub durability: Durability,
}

/// Cheap to clone; clones share the store and the commit wake-ups of this process.
#[derive(Debug, Clone)]
pub struct Lake {}

impl Lake {
    /// `uri` is a folder, `file://...` or `s3://bucket/prefix`. Touches nothing yet.
    pub fn open(_uri: &str, _options: LakeOptions, _clock: Clock) -> Result<Self> {
        Err(Error::Internal("not built yet".into()))
    }

    pub fn uri(&self) -> &str {
        ""
    }
    pub fn clock(&self) -> &Clock {
        unimplemented!()
    }
    /// Proves that the store refuses a second conditional put; call once in every role that writes.
    pub async fn probe(&self) -> Result<()> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Opens the table, creating it from its definition where it does not exist. Racing creators end with one table.
    pub async fn create_table(&self, _name: &TableName) -> Result<Table> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Opens a table that must exist (`Error::TableNotFound` otherwise).
    pub async fn table(&self, _name: &TableName) -> Result<Table> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Every table of the contract that exists in this lake, in data-flow order (gold intervals as found).
    pub async fn tables(&self) -> Result<Vec<Table>> {
        Err(Error::Internal("not built yet".into()))
    }
    /// The store rooted at the lake (for `_ticklake/...` files such as heartbeats and probes).
    pub fn object_store(&self) -> std::sync::Arc<dyn object_store::ObjectStore> {
        unimplemented!()
    }
}

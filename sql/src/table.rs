//! One open Delta table.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::logstore::LogStoreRef;
use tokio::sync::watch;

use crate::ddl::TableSpec;
use crate::{Error, Result, TableName};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {}

impl Table {
    pub fn name(&self) -> &TableName {
        unimplemented!()
    }
    pub fn spec(&self) -> &Arc<TableSpec> {
        unimplemented!()
    }
    pub fn log_store(&self) -> &LogStoreRef {
        unimplemented!()
    }
    /// Loads the state at `version`, or the newest. Costs a log replay: writers use [`crate::commit::Committer`], tailers [`crate::log`].
    pub async fn load(&self, _version: Option<u64>) -> Result<DeltaTable> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Newest version, probing upwards from `from` (a version known to exist) without a listing.
    pub async fn latest_version(&self, _from: Option<u64>) -> Result<u64> {
        Err(Error::Internal("not built yet".into()))
    }
    /// All txn positions (app id -> version) at the newest version, and that version.
    pub async fn positions(&self) -> Result<(u64, HashMap<String, i64>)> {
        Err(Error::Internal("not built yet".into()))
    }
    /// Newest version committed by this process's own writers; wakes refreshes and snapshots without polling.
    pub fn committed(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }
}

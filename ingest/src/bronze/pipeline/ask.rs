//! What fetch asks of commit. Questions travel with the data, so an answer speaks for everything sent before.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use serde_json::Value;
use ticklake_sql::commit::Txn;

use super::super::positions::Positions;
use super::super::topic::TopicIdentity;

pub enum Ask {
    /// Nothing sent before is under way any more.
    Settled(SyncSender<()>),
    /// The main table's txns, read anew.
    Recorded { reply: SyncSender<HashMap<String, i64>> },
    /// Record where partitions start.
    Record {
        start: StartRecord,
        reply: SyncSender<StartOutcome>,
    },
}

/// Positions to be recorded before the first read from them.
#[derive(Debug, Clone)]
pub struct StartRecord {
    pub topic: Arc<TopicIdentity>,
    pub txns: Vec<Txn>,
    pub positions: Positions,
    /// The operator's choices about lost positions, for the commit's info.
    pub choices: Vec<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    Recorded,
    /// Another instance was here first: plan again from what it recorded.
    Conflict,
}

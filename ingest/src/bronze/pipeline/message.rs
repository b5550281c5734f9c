//! What travels from stage to stage.

use std::sync::Arc;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;

use super::super::columns::Built;
use super::super::positions::Positions;
use super::super::record_chunk::RecordChunk;
use super::super::topic::TopicIdentity;
use super::ask::Ask;
use super::write::Upload;

/// fetch -> build.
pub enum Fetched {
    Chunk {
        epoch: u64,
        chunk: RecordChunk,
    },
    /// Every chunk of this flush came before.
    Close(Flush),
    Ask(Ask),
}

/// build -> write.
pub enum BuiltItem {
    Chunk { epoch: u64, built: Built },
    Close(Flush),
    Ask(Ask),
}

/// write -> commit.
pub enum Written {
    Flush(WrittenFlush),
    Ask(Ask),
}

/// Records that are committed together: what leads from `from` to `to`.
#[derive(Debug, Clone)]
pub struct Flush {
    pub epoch: u64,
    pub topic: Arc<TopicIdentity>,
    /// Positions before and after, of the partitions that moved.
    pub from: Positions,
    pub to: Positions,
    pub records: u64,
    pub opened: Instant,
}

pub struct WrittenFlush {
    pub flush: Flush,
    /// Files on their way to the store, and those that arrived.
    pub uploads: Vec<Upload>,
    pub adds: Vec<Add>,
    pub rows: u64,
    pub dead_letters: Vec<RecordBatch>,
}

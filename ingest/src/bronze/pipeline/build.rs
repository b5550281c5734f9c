//! The stage that decodes: one thread, all CPU, no waiting but for its neighbours.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use super::super::columns::ChunkBuilder;
use super::message::{BuiltItem, Fetched};
use super::shared::Shared;
use crate::error::Result;

/// Runs until fetch ends, or until write is gone.
pub fn run(shared: &Arc<Shared>, input: &Receiver<Fetched>, output: &SyncSender<BuiltItem>) -> Result<()> {
    let trades = shared.trades.spec().file_schema();
    let dead_letters = shared.dead_letters.spec().file_schema();
    let mut builder = ChunkBuilder::new(trades, dead_letters, &shared.options.topic)?;
    while let Ok(item) = input.recv() {
        let item = match item {
            Fetched::Chunk { epoch, .. } if shared.is_stale(epoch) => continue,
            Fetched::Chunk { epoch, chunk } => BuiltItem::Chunk {
                epoch,
                built: builder.build(chunk)?,
            },
            Fetched::Close(flush) => BuiltItem::Close(flush),
            Fetched::Ask(ask) => BuiltItem::Ask(ask),
        };
        if output.send(item).is_err() {
            break;
        }
    }
    Ok(())
}

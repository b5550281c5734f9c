//! All files of a backfill: several at once, begun oldest first, each on its own. One that fails stops no other.

use std::sync::Arc;

use futures::{StreamExt, stream};
use ticklake_sql::{Lake, Table};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::ledger::Ledger;
use super::load::{Shared, load};
use super::source;
use super::{BackfillOptions, BackfillReport, Progress};
use crate::schedule::Checkpoint;
use crate::{Error, Result};

/// Pieces of text in memory beside those that are being encoded: one that is being read, one that waits for its commit.
const SPARE_PIECES: usize = 2;
/// Looking whether a checkpoint is due costs requests.
const COMMITS_BETWEEN_LOOKS: u64 = 20;

/// Loads the files that the options name into bronze. What a run does not reach, the next one does: progress stands in bronze's own log.
pub async fn run(
    lake: &Lake,
    options: BackfillOptions,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<BackfillReport> {
    let format = Format::of(&options)?;
    let inputs = source::find(&options).await?;
    progress.found(inputs.len(), inputs.iter().map(|input| input.size_bytes).sum());
    let encoders = options.encoders.max(1);
    let files_at_once = options.files_at_once.max(1);
    let shared = Arc::new(Shared {
        ledger: Ledger::open(lake, options.attempts).await?,
        pieces: Arc::new(Semaphore::new(encoders + SPARE_PIECES)),
        encoders: Arc::new(Semaphore::new(encoders)),
        options,
        format,
        progress,
        stop,
    });
    let ended = CancellationToken::new();
    let checkpoints = tokio::spawn(keep_checkpointed(
        lake.clone(),
        shared.ledger.trades.clone(),
        ended.clone(),
    ));
    let files = stream::iter(inputs)
        .map(|input| load(shared.clone(), input))
        .buffered(files_at_once)
        .collect()
        .await;
    ended.cancel();
    checkpoints
        .await
        .map_err(|error| Error::Internal(format!("checkpoints ended early: {error}")))?;
    Ok(BackfillReport { files })
}

/// A backfill makes many commits, and nothing else may run that keeps the logs short.
async fn keep_checkpointed(lake: Lake, bronze: Table, ended: CancellationToken) {
    let mut committed = bronze.committed();
    loop {
        let seen = *committed.borrow_and_update();
        let enough = committed.wait_for(|version| *version >= seen + COMMITS_BETWEEN_LOOKS);
        tokio::select! {
            () = ended.cancelled() => return,
            changed = enough => if changed.is_err() { return },
        }
        if let Err(error) = Checkpoint::new(lake.clone()).run().await {
            tracing::warn!(%error, "checkpoint failed, trying again later");
        }
    }
}

//! Checkpoints and log clean-up: off the commit path, harmless to run twice, killable at any point.

use std::future::Future;

use deltalake::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::table::config::TablePropertiesExt;

use crate::log_state::{checkpoint_hint, delta_error};
use crate::{Result, Table};

/// Where the definition says nothing; Delta's own default is 10 for writers that checkpoint inside the commit.
const DEFAULT_INTERVAL: u64 = 100;

/// Writes a checkpoint at the newest version and removes expired log entries older than it, keeping every version from `keep_from`. Own task, never on the commit path.
pub async fn checkpoint(table: &Table, keep_from: Option<u64>) -> Result<()> {
    checkpoint_newest(table, keep_from).await.map(drop)
}

/// As [`checkpoint`], where `delta.checkpointInterval` commits have been made since the last one; the version of the new checkpoint.
pub async fn checkpoint_when_due(table: &Table, keep_from: Option<u64>) -> Result<Option<u64>> {
    match checkpoint_is_due(table).await? {
        Some(_) => checkpoint_newest(table, keep_from).await.map(Some),
        None => Ok(None),
    }
}

/// The newest version, where `delta.checkpointInterval` commits have been made since the last checkpoint.
pub async fn checkpoint_is_due(table: &Table) -> Result<Option<u64>> {
    let interval = table
        .spec()
        .property_u64("delta.checkpointInterval")
        .unwrap_or(DEFAULT_INTERVAL);
    let last = checkpoint_hint(table.log_store()).await?.map(|(version, _)| version);
    let newest = table.latest_version(last).await?;
    Ok((newest >= last.unwrap_or(0) + interval).then_some(newest))
}

/// Runs [`checkpoint_when_due`] as this process commits, until `shutdown`. A failure is logged and tried again at the next commit.
pub async fn keep_checkpointed(
    table: Table,
    keep_from: impl Fn() -> Option<u64> + Send,
    shutdown: impl Future<Output = ()> + Send,
) {
    let interval = table
        .spec()
        .property_u64("delta.checkpointInterval")
        .unwrap_or(DEFAULT_INTERVAL);
    let mut committed = table.committed();
    tokio::pin!(shutdown);
    loop {
        let seen = *committed.borrow_and_update();
        if let Err(error) = checkpoint_when_due(&table, keep_from()).await {
            tracing::warn!(table = %table.name(), %error, "checkpoint failed, trying again later");
        }
        // Looking costs requests: wait for a tenth of the interval at least.
        let enough = committed.wait_for(|version| *version >= seen + (interval / 10).max(1));
        tokio::select! {
            () = &mut shutdown => return,
            changed = enough => if changed.is_err() { return },
        }
    }
}

async fn checkpoint_newest(table: &Table, keep_from: Option<u64>) -> Result<u64> {
    let failed = |e| delta_error("cannot write the checkpoint", table.name(), e);
    let loaded = table.load(None).await?;
    let snapshot = loaded.snapshot().map_err(failed)?;
    let version = snapshot.version();
    create_checkpoint(&loaded, None).await.map_err(failed)?;
    let retention_ms = snapshot.table_config().log_retention_duration().as_millis() as i64;
    let expired = table.clock().now().timestamp_millis() - retention_ms;
    let keep_from = keep_from.unwrap_or(version).min(version);
    let removed = cleanup_expired_logs_for(keep_from, table.log_store().as_ref(), expired, None)
        .await
        .map_err(|e| delta_error("cannot clean up the log", table.name(), e))?;
    tracing::info!(table = %table.name(), version, removed, "checkpoint written");
    Ok(version)
}

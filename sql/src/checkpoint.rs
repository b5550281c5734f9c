//! Checkpoints and log clean-up: off the commit path, harmless to run twice, killable at any point.

use std::future::Future;

use deltalake::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::table::config::TablePropertiesExt;

use crate::log_state::{checkpoint_hint, delta_error};
use crate::{Result, Table};

/// Where the definition says nothing; Delta's own default is 10 for writers that checkpoint inside the commit.
const DEFAULT_INTERVAL: u64 = 100;
/// A checkpoint says again what all before it said. A commit for each so many of its actions keeps that cost a commit's, however many files
/// there are.
const ACTIONS_A_COMMIT: u64 = 20;
/// A reader that opens the table reads at most so many intervals of entries after the checkpoint.
const MOST_INTERVALS: u64 = 10;

/// Writes a checkpoint at the newest version and removes expired log entries older than it, keeping every version from `keep_from`. Own task, never on the commit path.
pub async fn checkpoint(table: &Table, keep_from: Option<u64>) -> Result<()> {
    checkpoint_newest(table, keep_from).await.map(drop)
}

/// As [`checkpoint`], where enough commits have been made since the last one: `delta.checkpointInterval`, and up to ten times as many where
/// the last one is large. The version of the new checkpoint.
pub async fn checkpoint_when_due(table: &Table, keep_from: Option<u64>) -> Result<Option<u64>> {
    match checkpoint_is_due(table).await? {
        Some(_) => checkpoint_newest(table, keep_from).await.map(Some),
        None => Ok(None),
    }
}

/// The newest version, where enough commits have been made since the last checkpoint.
pub async fn checkpoint_is_due(table: &Table) -> Result<Option<u64>> {
    let last = checkpoint_hint(table.log_store()).await?;
    let (version, actions) = last.map_or((None, 0), |last| (Some(last.version), last.size.unwrap_or(0)));
    let newest = table.latest_version(version).await?;
    let due = version.unwrap_or(0) + due_after(interval(table), actions);
    Ok((newest >= due).then_some(newest))
}

fn interval(table: &Table) -> u64 {
    let interval = table.spec().property_u64("delta.checkpointInterval");
    interval.unwrap_or(DEFAULT_INTERVAL).max(1)
}

/// Commits from a checkpoint of so many actions to the next.
fn due_after(interval: u64, actions: u64) -> u64 {
    (actions / ACTIONS_A_COMMIT).clamp(interval, interval.saturating_mul(MOST_INTERVALS))
}

/// Runs [`checkpoint_when_due`] as this process commits, until `shutdown`. A failure is logged and tried again at the next commit.
pub async fn keep_checkpointed(
    table: Table,
    keep_from: impl Fn() -> Option<u64> + Send,
    shutdown: impl Future<Output = ()> + Send,
) {
    let interval = interval(&table);
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

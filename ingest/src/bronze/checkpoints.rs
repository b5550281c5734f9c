//! Checkpoints of the bronze tables' logs, apart from the commits, so that neither waits for the other.

use std::sync::Arc;

use ticklake_sql::error::chain;
use ticklake_sql::{Table, TableName, log};

use super::pipeline::Shared;

/// Commits between two checkpoints where the table's properties do not say.
const DEFAULT_INTERVAL: u64 = 100;

/// Runs until the run ends.
pub async fn run(shared: Arc<Shared>) {
    tokio::join!(follow(&shared, &shared.trades), follow(&shared, &shared.dead_letters));
}

async fn follow(shared: &Shared, table: &Table) {
    let interval = table
        .spec()
        .properties
        .get("delta.checkpointInterval")
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT_INTERVAL);
    let mut committed = table.committed();
    let mut last = *committed.borrow_and_update();
    loop {
        tokio::select! {
            () = shared.abandon.cancelled() => return,
            changed = committed.changed() => if changed.is_err() { return },
        }
        let version = *committed.borrow_and_update();
        if version < last.saturating_add(interval) {
            continue;
        }
        // A failure costs nothing but a longer log to read; the next interval tries again.
        last = version;
        match log::checkpoint(table, keep_from(shared, table).await).await {
            Ok(()) => tracing::info!(table = %table.name(), version, "checkpoint written"),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(table = %table.name(), version, error, "no checkpoint written");
                shared
                    .status
                    .noted(&format!("no checkpoint of {} written: {error}", table.name()));
            }
        }
    }
}

/// The version that silver reads next: log entries from there on stay. Everything stays while nobody has read.
async fn keep_from(shared: &Shared, table: &Table) -> Option<u64> {
    if table.name() != &TableName::bronze_trades() {
        return None;
    }
    let silver = match shared.lake.table(&TableName::silver_trades()).await {
        Ok(silver) => silver,
        Err(_) => return Some(0),
    };
    Some(silver.read_to(table.name()).await.ok().flatten().unwrap_or(0))
}

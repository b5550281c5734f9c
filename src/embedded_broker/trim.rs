//! Forgets records that are older than the retention and that bronze holds, so that the broker's file stops growing.
//!
//! Tansu's own retention knows no consumer: it would drop records that nobody has read yet, and with the last record of a
//! partition its end offset. Here a record goes only below the given position, and the newest of each partition always stays.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::server::FILE;

/// Rows of one transaction: small enough that a producer never waits noticeably.
const ROWS_AT_ONCE: u32 = 2_000;
/// How long a step waits for the broker's own write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const DELETE: &str = include_str!("trim.sql");

/// Drops records of `topic` below `positions` (partition, next offset to read) with a timestamp before `before_ms`. Returns how many.
pub async fn trim(folder: &Path, topic: &str, positions: &[(i32, i64)], before_ms: i64) -> anyhow::Result<u64> {
    let file = folder.join(FILE);
    let database = libsql::Builder::new_local(&file).build().await.context("cannot open the broker's log")?;
    let connection = database.connect().context("cannot open the broker's log")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let mut dropped = 0;
    for (partition, position) in positions {
        loop {
            let bound = (topic.to_owned(), *partition, *position, before_ms, ROWS_AT_ONCE);
            let rows = connection.execute(DELETE, bound).await.context("cannot trim the broker's log")?;
            dropped += rows;
            if rows < u64::from(ROWS_AT_ONCE) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(dropped)
}

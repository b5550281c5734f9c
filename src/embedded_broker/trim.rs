//! Forgets records that are older than the retention and that bronze holds, so that the broker's file stops growing.
//!
//! Tansu's own retention knows no consumer: it would drop records that nobody has read yet, and with the last record of a
//! partition its end offset. Here a record goes only below the given position, and the newest of each partition always stays.

use std::path::PathBuf;

use anyhow::Context;

use super::requests::Gate;

/// Rows of one transaction: small enough that a producer never waits noticeably.
const ROWS_AT_ONCE: u32 = 2_000;

const DELETE: &str = include_str!("trim.sql");

/// Drops records from a running broker's file. Cheap to clone.
#[derive(Clone)]
pub struct Trimmer {
    file: PathBuf,
    gate: Gate,
}

impl Trimmer {
    pub(super) fn new(file: PathBuf, gate: Gate) -> Self {
        Self { file, gate }
    }

    /// Drops records of `topic` below `positions` (partition, next offset to read) with a timestamp before `before_ms`. Returns how many.
    pub async fn trim(&self, topic: &str, positions: &[(i32, i64)], before_ms: i64) -> anyhow::Result<u64> {
        let database = libsql::Builder::new_local(&self.file)
            .build()
            .await
            .context("cannot open the broker's log")?;
        let mut dropped = 0;
        for (partition, position) in positions {
            loop {
                let bound = (topic.to_owned(), *partition, *position, before_ms, ROWS_AT_ONCE);
                // Tansu gives up a write that finds the file locked, so nobody writes meanwhile.
                let closed = self.gate.close().await;
                let connection = database.connect().context("cannot open the broker's log")?;
                let rows = connection
                    .execute(DELETE, bound)
                    .await
                    .context("cannot trim the broker's log")?;
                drop(connection);
                drop(closed);
                dropped += rows;
                if rows < u64::from(ROWS_AT_ONCE) {
                    break;
                }
            }
        }
        Ok(dropped)
    }
}

//! Checkpoints and log clean-up of every table in the lake. Never removes a log entry that a derived table has still to read.

use ticklake_sql::{Lake, log};

use crate::Result;
use crate::error::Step;
use crate::maintenance::lineage::first_unread;

pub struct Checkpoint {
    lake: Lake,
}

impl Checkpoint {
    pub fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// Every table where `delta.checkpointInterval` commits were made since the last checkpoint; how many those were.
    pub async fn run(&mut self) -> Result<u64> {
        let mut written = 0;
        let tables = self.lake.tables().await.step("list the tables of the lake")?;
        for table in &tables {
            let keep_from = first_unread(table, &tables).await?;
            if let Some(version) = log::checkpoint_when_due(table, keep_from)
                .await
                .step("write a checkpoint")?
            {
                written += 1;
                tracing::info!(table = %table.name(), version, keep_from, "checkpoint written");
            }
        }
        Ok(written)
    }
}

//! Checkpoints and log clean-up of every table in the lake. Never removes a log entry that a derived table has still to read.

use ticklake_sql::{Lake, Table, TableName, log};

use crate::Result;
use crate::error::Step;

pub struct Checkpoint {
    lake: Lake,
}

impl Checkpoint {
    pub fn new(lake: Lake) -> Self {
        Self { lake }
    }

    /// Every table where `delta.checkpointInterval` commits were made since the last checkpoint.
    pub async fn run(&mut self) -> Result<()> {
        let tables = self.lake.tables().await.step("list the tables of the lake")?;
        for table in &tables {
            let keep_from = keep_from(table, &tables).await?;
            if let Some(version) = log::checkpoint_when_due(table, keep_from)
                .await
                .step("write a checkpoint")?
            {
                tracing::info!(table = %table.name(), version, keep_from, "checkpoint written");
            }
        }
        Ok(())
    }
}

/// The first version that a derived table has not read yet; everything where one has read nothing. `None`: nothing derives from it.
async fn keep_from(table: &Table, tables: &[Table]) -> Result<Option<u64>> {
    let derives = |other: &TableName| match (table.name().schema(), table.name().table()) {
        ("bronze", "trades") => *other == TableName::silver_trades(),
        ("silver", "trades") => other.ohlcv_interval().is_some(),
        _ => false,
    };
    let input_app = |other: &Table| format!("ticklake/{}/input/{}", other.name(), table.name());
    let is_input = *table.name() == TableName::bronze_trades() || *table.name() == TableName::silver_trades();
    let mut least = None;
    for other in tables.iter().filter(|other| derives(other.name())) {
        let (_, positions) = other.positions().await.step("read the positions of a table")?;
        let position = positions
            .get(&input_app(other))
            .and_then(|position| u64::try_from(*position).ok());
        let next = position.map_or(0, |position| position + 1);
        least = Some(least.map_or(next, |least: u64| least.min(next)));
    }
    // Nothing derived yet: whatever comes first must find the log whole.
    Ok(least.or(is_input.then_some(0)))
}

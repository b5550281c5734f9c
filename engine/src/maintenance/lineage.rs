//! Which table is made from which, and the least version that something derived has still to read: what log clean-up, vacuum and retention
//! must leave alone.

use ticklake_sql::{Table, TableName};

use crate::Result;
use crate::error::Step;

/// `table` is read by a refresh of `other`.
fn derives(table: &TableName, other: &TableName) -> bool {
    match (table.schema(), table.table()) {
        // The quarantine goes ahead of silver, and commits only where it has rows: silver tells how far both have come.
        ("bronze", "trades") => *other == TableName::silver_trades(),
        ("silver", "trades") => other.ohlcv_interval().is_some(),
        _ => false,
    }
}

/// Something may be derived from it one day, if not yet.
fn is_input(table: &TableName) -> bool {
    *table == TableName::bronze_trades() || *table == TableName::silver_trades()
}

/// The first version of `table` that something derived from it has not read yet; 0 where one has read nothing, or where nothing is
/// derived yet: what comes first must find everything. `None`: nothing ever derives from it.
pub async fn first_unread(table: &Table, tables: &[Table]) -> Result<Option<u64>> {
    let mut least = None;
    for other in tables.iter().filter(|other| derives(table.name(), other.name())) {
        let read_to = other.read_to(table.name()).await;
        let position = read_to.step("read the positions of a table")?;
        let next = position.map_or(0, |position| position + 1);
        least = Some(least.map_or(next, |least: u64| least.min(next)));
    }
    Ok(least.or(is_input(table.name()).then_some(0)))
}

//! Which table is made from which, and the least version that something derived has still to read: what log clean-up, vacuum and retention
//! must leave alone, and a backup must carry.

use std::collections::HashMap;

use ticklake_sql::{Table, TableName, app_ids};

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

/// App id -> version, of one table.
pub type Positions = HashMap<String, i64>;

/// The first version of `table` that something derived from it has not read yet; 0 where one has read nothing, or where nothing is
/// derived yet: what comes first must find everything. `None`: nothing ever derives from it.
pub async fn first_unread(table: &Table, tables: &[Table]) -> Result<Option<u64>> {
    let mut derived = Vec::new();
    for other in tables.iter().filter(|other| derives(table.name(), other.name())) {
        let (_, positions) = other.positions().await.step("read the positions of a table")?;
        derived.push((other.name().clone(), positions));
    }
    Ok(first_unread_by(table.name(), &derived))
}

/// The same by positions that have been read: of tables of any kind.
pub fn first_unread_by(table: &TableName, others: &[(TableName, Positions)]) -> Option<u64> {
    let next = |(other, positions): &(TableName, Positions)| {
        let position = positions.get(&app_ids::input(other, table));
        let position = position.and_then(|version| u64::try_from(*version).ok());
        position.map_or(0, |position| position + 1)
    };
    let derived = others.iter().filter(|(other, _)| derives(table, other));
    derived.map(next).min().or(is_input(table).then_some(0))
}

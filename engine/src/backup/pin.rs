//! One version a table, together a state that the lake could have been in: no table has read more of its input than the copy holds.

use ticklake_sql::{Lake, Table, TableName};

use crate::Result;
use crate::error::Step;
use crate::maintenance::lineage::{Positions, first_unread_by};

#[derive(Debug)]
pub struct Pinned {
    pub table: Table,
    pub version: u64,
    /// The first version that something derived, as it was pinned, has still to read; `None` where nothing ever is.
    pub unread: Option<u64>,
}

/// The tables in the order in which their versions are taken: derived ones before their input, side tables after their main table. What runs
/// meanwhile only adds to those that come later, and each job knows how to go on from there.
pub async fn pinned(lake: &Lake, wanted: &[TableName]) -> Result<Vec<Pinned>> {
    let mut tables = lake.tables().await.step("find the tables of a lake")?;
    tables.sort_by_key(|table| order(table.name()));
    let mut before: Vec<(TableName, Positions)> = Vec::with_capacity(tables.len());
    let mut pinned = Vec::with_capacity(tables.len());
    for table in tables {
        let (version, positions) = table.positions().await.step("read the positions of a table")?;
        let (name, unread) = (table.name().clone(), first_unread_by(table.name(), &before));
        before.push((name.clone(), positions));
        if wanted.is_empty() || wanted.contains(&name) {
            pinned.push(Pinned { table, version, unread });
        }
    }
    Ok(pinned)
}

fn order(name: &TableName) -> (u8, bool, String) {
    let layer = match name.schema() {
        "bronze" => 2,
        "silver" => 1,
        _ => 0,
    };
    (layer, name.table() != "trades", name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_before_what_reads_it() {
        let mut names: Vec<TableName> = ticklake_sql::tables::fixed()
            .into_iter()
            .chain([TableName::gold_ohlcv("1m")])
            .collect();
        names.sort_by_key(order);
        let names: Vec<String> = names.iter().map(TableName::to_string).collect();
        assert_eq!(
            names,
            [
                "gold.ohlcv_1m",
                "gold.ohlcv_revisions",
                "silver.trades",
                "silver.quarantine",
                "bronze.trades",
                "bronze.dead_letters"
            ]
        );
    }
}

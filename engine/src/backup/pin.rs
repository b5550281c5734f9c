//! One version a table, together a state that the lake could have been in: no table has read more of its input than the copy holds.

use ticklake_sql::{Lake, Table, TableName};

use crate::Result;
use crate::error::Step;

/// The tables in the order in which their versions are taken: derived ones before their input, side tables after their main table. What runs
/// meanwhile only adds to those that come later, and each job knows how to go on from there.
pub async fn pinned(lake: &Lake, wanted: &[TableName]) -> Result<Vec<(Table, u64)>> {
    let mut tables = lake.tables().await.step("find the tables of a lake")?;
    tables.retain(|table| wanted.is_empty() || wanted.contains(table.name()));
    tables.sort_by_key(|table| order(table.name()));
    let mut pinned = Vec::with_capacity(tables.len());
    for table in tables {
        let version = table
            .latest_version(None)
            .await
            .step("find the newest version of a table")?;
        pinned.push((table, version));
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

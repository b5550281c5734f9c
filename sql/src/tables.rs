//! The tables of a lake: names, and where each one's definition stands.

use std::fmt;
use std::sync::Arc;

use crate::ddl::TableSpec;
use crate::{Error, Result};

const BRONZE_TRADES: &str = include_str!("../tables/bronze_trades.sql");
const BRONZE_DEAD_LETTERS: &str = include_str!("../tables/bronze_dead_letters.sql");
const SILVER_TRADES: &str = include_str!("../tables/silver_trades.sql");
const SILVER_QUARANTINE: &str = include_str!("../tables/silver_quarantine.sql");
const GOLD_OHLCV: &str = include_str!("../tables/gold_ohlcv.sql");
const GOLD_OHLCV_REVISIONS: &str = include_str!("../tables/gold_ohlcv_revisions.sql");
const SYSTEM_CHECKS: &str = include_str!("../tables/system_checks.sql");
const SYSTEM_JOBS: &str = include_str!("../tables/system_jobs.sql");
const SYSTEM_PARITY: &str = include_str!("../tables/system_parity.sql");

/// Stands between a table's name and the id of a rebuild.
const REBUILT: &str = "__rebuild_";

/// `schema.table`, e.g. `bronze.trades`. In the lake it lies at `<lake>/<schema>/<table>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: String,
    table: String,
}

impl TableName {
    pub fn bronze_trades() -> Self {
        Self::new("bronze", "trades")
    }
    pub fn bronze_dead_letters() -> Self {
        Self::new("bronze", "dead_letters")
    }
    pub fn silver_trades() -> Self {
        Self::new("silver", "trades")
    }
    pub fn silver_quarantine() -> Self {
        Self::new("silver", "quarantine")
    }
    pub fn system_checks() -> Self {
        Self::new("system", "checks")
    }
    pub fn system_jobs() -> Self {
        Self::new("system", "jobs")
    }
    pub fn system_parity() -> Self {
        Self::new("system", "parity")
    }
    /// `interval` as in the table's name: `1m`, `5m`, `1h`.
    pub fn gold_ohlcv(interval: &str) -> Self {
        Self::new("gold", &format!("ohlcv_{interval}"))
    }

    /// Earlier states of the bars of every interval.
    pub fn gold_ohlcv_revisions() -> Self {
        Self::new("gold", "ohlcv_revisions")
    }

    /// The table beside this one that holds the result of a rebuild until it is swapped in.
    pub fn rebuilt(&self, id: &str) -> Self {
        Self::new(&self.schema, &format!("{}{REBUILT}{id}", self.table))
    }

    /// The table that a rebuild's result is for, and the rebuild's id; `None` for every other table.
    pub fn of_rebuilt(&self) -> Option<(Self, &str)> {
        let (table, id) = self.table.split_once(REBUILT)?;
        Some((Self::new(&self.schema, table), id))
    }

    fn new(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
        }
    }

    /// Parses `schema.table`; letters, digits and underscores only.
    pub fn parse(text: &str) -> Result<Self> {
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match text.split_once('.') {
            Some((schema, table)) if word(schema) && word(table) => Ok(Self::new(schema, table)),
            _ => Err(Error::Invalid(format!(
                "{text:?} is no table name: write schema.table with letters, digits and underscores, e.g. silver.trades"
            ))),
        }
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }
    pub fn table(&self) -> &str {
        &self.table
    }
    /// Path below the lake: `schema/table`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.schema, self.table)
    }
    /// `1m` of `gold.ohlcv_1m`; `None` for every other table.
    pub fn ohlcv_interval(&self) -> Option<&str> {
        let interval = self.table.strip_prefix("ohlcv_").filter(|_| self.schema == "gold")?;
        let unit = interval.strip_suffix(['s', 'm', 'h', 'd', 'w'])?;
        (!unit.is_empty() && unit.bytes().all(|b| b.is_ascii_digit())).then_some(interval)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// The tables of the contract with fixed names, in data-flow order; gold's follow.
pub fn fixed() -> [TableName; 5] {
    [
        TableName::bronze_trades(),
        TableName::bronze_dead_letters(),
        TableName::silver_trades(),
        TableName::silver_quarantine(),
        TableName::gold_ohlcv_revisions(),
    ]
}

/// The tables that runs of the program write about themselves.
pub fn system() -> [TableName; 3] {
    [
        TableName::system_checks(),
        TableName::system_jobs(),
        TableName::system_parity(),
    ]
}

/// The definition of a table, from the text under `sql/tables/`.
pub fn spec(name: &TableName) -> Result<Arc<TableSpec>> {
    if let Some((of, _)) = name.of_rebuilt() {
        let mut beside = spec(&of)?.as_ref().clone();
        beside.name = name.clone();
        return Ok(Arc::new(beside));
    }
    let ddl = match (name.schema(), name.table()) {
        ("bronze", "trades") => BRONZE_TRADES,
        ("bronze", "dead_letters") => BRONZE_DEAD_LETTERS,
        ("silver", "trades") => SILVER_TRADES,
        ("silver", "quarantine") => SILVER_QUARANTINE,
        ("gold", "ohlcv_revisions") => GOLD_OHLCV_REVISIONS,
        ("system", "checks") => SYSTEM_CHECKS,
        ("system", "jobs") => SYSTEM_JOBS,
        ("system", "parity") => SYSTEM_PARITY,
        _ if name.ohlcv_interval().is_some() => GOLD_OHLCV,
        _ => {
            return Err(Error::Invalid(format!(
                "table {name} is unknown: the tables are bronze.trades, bronze.dead_letters, silver.trades, silver.quarantine, gold.ohlcv_revisions, gold.ohlcv_<interval>, e.g. gold.ohlcv_1m, system.checks, system.jobs and system.parity"
            )));
        }
    };
    TableSpec::parse(name, ddl).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_parses() {
        for name in fixed().into_iter().chain([TableName::gold_ohlcv("1m")]).chain(system()) {
            let spec = spec(&name).unwrap();
            assert_eq!(spec.partition_columns.len(), 1, "{name}");
            assert_eq!(spec.property_u64("delta.checkpointInterval"), Some(100), "{name}");
            assert!(!spec.comment.is_empty());
            assert!(spec.schema.fields().iter().all(|f| !f.metadata()["comment"].is_empty()));
            for forbidden in ["delta.setTransactionRetentionDuration", "delta.appendOnly"] {
                assert!(!spec.properties.contains_key(forbidden), "{name} sets {forbidden}");
            }
        }
    }

    #[test]
    fn sort_and_partition_columns_are_the_contracts() {
        let silver = spec(&TableName::silver_trades()).unwrap();
        assert_eq!(silver.partition_columns, ["date"]);
        assert_eq!(silver.sort_columns, ["symbol", "ts", "seq"]);
        assert_eq!(
            silver
                .partitioned_by(&["symbol", "date"])
                .unwrap()
                .file_schema()
                .fields()
                .len(),
            21
        );
        assert_eq!(
            spec(&TableName::gold_ohlcv("5m")).unwrap().sort_columns,
            ["symbol", "window_start"]
        );
        assert!(spec(&TableName::bronze_trades()).unwrap().sort_columns.is_empty());
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(TableName::parse("gold.ohlcv_1h").unwrap(), TableName::gold_ohlcv("1h"));
        for bad in ["trades", "a.b.c", "../x.y", "a.", "a.b c"] {
            assert!(TableName::parse(bad).is_err(), "{bad}");
        }
        for unknown in ["gold.ohlcv_", "gold.ohlcv_m", "gold.bars", "silver.ohlcv_1m"] {
            assert!(spec(&TableName::parse(unknown).unwrap()).is_err(), "{unknown}");
        }
    }
}

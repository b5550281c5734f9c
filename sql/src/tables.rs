//! The tables of a lake: names, and where each one's definition stands.

use std::fmt;
use std::sync::Arc;

use crate::ddl::TableSpec;
use crate::{Error, Result};

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
    /// `interval` as in the table's name: `1m`, `5m`, `1h`.
    pub fn gold_ohlcv(interval: &str) -> Self {
        Self::new("gold", &format!("ohlcv_{interval}"))
    }

    fn new(schema: &str, table: &str) -> Self {
        Self { schema: schema.to_owned(), table: table.to_owned() }
    }

    /// Parses `schema.table`; letters, digits and underscores only.
    pub fn parse(_text: &str) -> Result<Self> {
        Err(Error::Internal("not built yet".into()))
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
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// The definition of a table, from the text under `sql/tables/`.
pub fn spec(_name: &TableName) -> Result<Arc<TableSpec>> {
    Err(Error::Internal("not built yet".into()))
}

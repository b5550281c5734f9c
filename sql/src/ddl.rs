//! Table definitions: the text under `sql/tables/` parsed into what the writers need.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;

use crate::TableName;

/// What a `CREATE TABLE` says. The Arrow schema has strings as Utf8, timestamps as microseconds with time zone "UTC".
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: TableName,
    pub comment: String,
    /// All columns in order, partition columns included; comments as field metadata `comment`.
    pub schema: SchemaRef,
    pub partition_columns: Vec<String>,
    /// Empty: rows are stored as they come.
    pub sort_columns: Vec<String>,
    pub properties: BTreeMap<String, String>,
}

impl TableSpec {
    /// The columns that a data file holds: all but the partition columns, in order.
    pub fn file_schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.schema.fields().iter().filter(|f| !self.partition_columns.contains(f.name())).cloned().collect();
        std::sync::Arc::new(arrow::datatypes::Schema::new(fields))
    }
}

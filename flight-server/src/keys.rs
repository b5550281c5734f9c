//! Keys: the natural keys of silver and gold; no table refers to another, which tools want to hear as an empty table.

use std::sync::{Arc, LazyLock};

use arrow_flight::Ticket;
use arrow_flight::sql::CommandGetPrimaryKeys;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ticklake_sql::TableName;
use tonic::Request;

use crate::caller::Caller;
use crate::error::Result;
use crate::latest;
use crate::schemas::CATALOG;
use crate::service::Service;

const SILVER_TRADES: &[&str] = &["venue", "symbol", "kind", "trade_id"];
const BARS: &[&str] = &["venue", "symbol", "window_start"];
const REVISIONS: &[&str] = &["bar_interval", "venue", "symbol", "window_start", "revision"];
const LATEST: &[&str] = &["venue", "symbol"];

/// `CommandGetPrimaryKeys` of FlightSql.proto.
static PRIMARY: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

/// `CommandGetExportedKeys`, `CommandGetImportedKeys` and `CommandGetCrossReference` of FlightSql.proto.
static REFERENCE: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

pub fn primary_schema() -> SchemaRef {
    PRIMARY.clone()
}

pub fn reference_schema() -> SchemaRef {
    REFERENCE.clone()
}

pub fn no_references() -> RecordBatch {
    RecordBatch::new_empty(reference_schema())
}

pub async fn primary(
    service: &Service,
    query: CommandGetPrimaryKeys,
    request: &Request<Ticket>,
) -> Result<RecordBatch> {
    let identity = Caller::of(&service.engine, request)?.identity;
    let tables = service.engine.snapshots.all().await?;
    let latest = TableName::parse(&format!("{}.{}", latest::SCHEMA, latest::TABLE))?;
    let made = tables.iter().any(|t| *t.name() == latest::source()).then_some(&latest);
    let names = tables.iter().map(|t| t.name()).chain(made);
    primary_of(&query, names.filter(|name| identity.may_read(name.schema())))
}

fn primary_of<'a>(query: &CommandGetPrimaryKeys, tables: impl Iterator<Item = &'a TableName>) -> Result<RecordBatch> {
    let wanted = query.catalog.as_deref().is_none_or(|c| c == CATALOG);
    let mut rows = Vec::new();
    for name in tables {
        let by_schema = query.db_schema.as_deref().is_none_or(|s| s == name.schema());
        if wanted && by_schema && query.table == name.table() {
            rows.extend(key_of(name).iter().zip(1..).map(|(column, n)| (name, *column, n)));
        }
    }
    let text = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let columns: Vec<ArrayRef> = vec![
        text(vec![CATALOG.to_owned(); rows.len()]),
        text(rows.iter().map(|(name, _, _)| name.schema().to_owned()).collect()),
        text(rows.iter().map(|(name, _, _)| name.table().to_owned()).collect()),
        text(rows.iter().map(|(_, column, _)| (*column).to_owned()).collect()),
        text(
            rows.iter()
                .map(|(name, _, _)| format!("{}_key", name.table()))
                .collect(),
        ),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, _, n)| *n))),
    ];
    Ok(RecordBatch::try_new(primary_schema(), columns)?)
}

fn key_of(name: &TableName) -> &'static [&'static str] {
    match (name.schema(), name.table()) {
        ("silver", "trades") => SILVER_TRADES,
        (latest::SCHEMA, latest::TABLE) => LATEST,
        _ if *name == TableName::gold_ohlcv_revisions() => REVISIONS,
        _ if name.ohlcv_interval().is_some() => BARS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use ticklake_sql::tables;

    use super::*;

    #[test]
    fn natural_keys_are_told_in_order() {
        let tables = [
            TableName::silver_trades(),
            TableName::bronze_trades(),
            TableName::gold_ohlcv("1m"),
        ];
        let query = |table: &str| CommandGetPrimaryKeys {
            catalog: None,
            db_schema: None,
            table: table.into(),
        };
        let rows = primary_of(&query("trades"), tables.iter()).unwrap();
        let columns: Vec<_> = rows.column(3).as_string::<i32>().iter().flatten().collect();
        assert_eq!(columns, SILVER_TRADES);
        assert_eq!(primary_of(&query("ohlcv_1m"), tables.iter()).unwrap().num_rows(), 3);
        assert_eq!(primary_of(&query("none"), tables.iter()).unwrap().num_rows(), 0);
        let other = CommandGetPrimaryKeys {
            db_schema: Some("bronze".into()),
            ..query("trades")
        };
        assert_eq!(primary_of(&other, tables.iter()).unwrap().num_rows(), 0);
    }

    /// Where no key is written none is told.
    #[test]
    fn keys_are_those_that_the_definitions_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/tables");
        let mut written = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let (schema, table) = path.file_stem().unwrap().to_str().unwrap().split_once('_').unwrap();
            let name = match table {
                "ohlcv" => TableName::gold_ohlcv("1m"),
                _ => TableName::parse(&format!("{schema}.{table}")).unwrap(),
            };
            let text = std::fs::read_to_string(&path).unwrap();
            let key = text.lines().find_map(|line| line.strip_prefix("-- key: ("));
            let key = key.map_or(Vec::new(), |rest| rest.split_once(')').unwrap().0.split(", ").collect());
            written += usize::from(!key.is_empty());
            assert_eq!(key_of(&name), key, "{name}");
            let columns = &tables::spec(&name).unwrap().schema;
            assert!(key.iter().all(|column| columns.index_of(column).is_ok()), "{name}");
        }
        assert_eq!(written, 3);
    }
}

//! The schema `system`: what runs and ran here, and how the tables of the lake stand. Rows are made when a statement that reads
//! them is planned; a caller sees its own statements and the tables it may read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{MemTable, TableProvider};
use ticklake_sql::ddl::TableSpec;
use ticklake_sql::{Lake, TableName};

use crate::error::Result;
use crate::queries::Query;
use crate::version::TableVersion;

pub const SCHEMA: &str = "system";
pub const QUERIES: &str = "queries";
pub const TABLES: &str = "tables";
/// The others of this schema are tables of the lake.
pub const MADE: [&str; 2] = [QUERIES, TABLES];
/// A file smaller than this is one that optimizing would join with others.
const SMALL_FILE_BYTES: u64 = 16 << 20;

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, t)| Field::new(*name, t.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn table(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

fn queries_schema() -> SchemaRef {
    let names = ["id", "user_name", "peer", "client", "state", "outcome", "tables", "sql"];
    let counts = [
        "queue_ms",
        "plan_ms",
        "execute_ms",
        "rows",
        "bytes",
        "peak_memory_bytes",
    ];
    let mut fields: Vec<_> = names.iter().map(|name| (*name, DataType::Utf8)).collect();
    fields.push(("started_at", utc()));
    fields.extend(counts.iter().map(|name| (*name, DataType::Int64)));
    schema(&fields)
}

fn tables_schema() -> SchemaRef {
    let counts = ["version", "files", "bytes", "small_files", "rows", "log_depth"];
    let mut fields = vec![("table_schema", DataType::Utf8), ("table_name", DataType::Utf8)];
    fields.extend(counts.iter().map(|name| (*name, DataType::UInt64)));
    fields.push(("committed_at", utc()));
    schema(&fields)
}

/// The tables as catalogs describe them, beside those of the lake.
pub fn specs() -> Result<[TableSpec; 2]> {
    let spec = |name: &str, comment: &str, schema: SchemaRef| -> Result<TableSpec> {
        Ok(TableSpec {
            name: TableName::parse(&format!("{SCHEMA}.{name}"))?,
            comment: comment.to_owned(),
            schema,
            partition_columns: Vec::new(),
            sort_columns: Vec::new(),
            properties: BTreeMap::new(),
        })
    };
    Ok([
        spec(
            QUERIES,
            "what runs on this server, and its last statements",
            queries_schema(),
        )?,
        spec(TABLES, "how the tables of the lake stand", tables_schema())?,
    ])
}

/// `system.queries`: one row a statement, running ones first.
pub fn queries(all: &[Arc<Query>]) -> Result<Arc<dyn TableProvider>> {
    let mut texts: [StringBuilder; 8] = Default::default();
    let mut started = TimestampMicrosecondBuilder::new().with_data_type(utc());
    let mut numbers: [Int64Builder; 6] = Default::default();
    for query in all {
        let progress = query.progress();
        let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let peer = query.peer.map(|addr| addr.to_string());
        let versions = serde_json::json!(progress.versions).to_string();
        let values = [
            Some(query.id.as_str()),
            Some(query.user.as_ref()),
            peer.as_deref(),
            Some(query.client.as_str()),
            Some(progress.state.name()),
            progress.outcome.as_deref(),
            Some(versions.as_str()),
            Some(query.sql.as_str()),
        ];
        for (builder, value) in texts.iter_mut().zip(values) {
            builder.append_option(value);
        }
        started.append_value(query.started_us);
        let counts = [
            ms(progress.queued),
            ms(progress.planned),
            ms(progress.executed),
            i64::try_from(query.rows.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            i64::try_from(query.bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
            i64::try_from(query.peak_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        ];
        for (builder, value) in numbers.iter_mut().zip(counts) {
            builder.append_value(value);
        }
    }
    let mut columns: Vec<ArrayRef> = texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    columns.push(Arc::new(started.finish()));
    columns.extend(numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    table(queries_schema(), columns)
}

/// `system.tables`: one row a table of the lake, at the version that queries read now.
pub async fn tables(lake: &Lake, all: &[Arc<TableVersion>]) -> Result<Arc<dyn TableProvider>> {
    let mut names = [StringBuilder::new(), StringBuilder::new()];
    let mut numbers: [UInt64Builder; 6] = Default::default();
    let mut committed = TimestampMicrosecondBuilder::new().with_data_type(utc());
    for version in all {
        let sizes = || version.files().iter().map(|file| file.file.object_meta.size);
        let rows: Option<usize> = version.files().iter().try_fold(0, |sum, file| Some(sum + file.rows?));
        // How many commits a cold reader replays.
        let checkpoint = lake.checkpoint_version(version.name()).await.ok().flatten();
        let depth = checkpoint.map_or(version.version() + 1, |at| version.version().saturating_sub(at));
        names[0].append_value(version.name().schema());
        names[1].append_value(version.name().table());
        let values = [
            Some(version.version()),
            Some(version.files().len() as u64),
            Some(sizes().sum()),
            Some(sizes().filter(|size| *size < SMALL_FILE_BYTES).count() as u64),
            rows.map(|rows| rows as u64),
            Some(depth),
        ];
        for (builder, value) in numbers.iter_mut().zip(values) {
            builder.append_option(value);
        }
        committed.append_option(version.committed_ms().map(|ms| ms * 1_000));
    }
    let mut columns: Vec<ArrayRef> = names.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    columns.extend(numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.push(Arc::new(committed.finish()));
    table(tables_schema(), columns)
}

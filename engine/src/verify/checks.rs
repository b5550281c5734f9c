//! The checks of `sql/checks/` over the newest versions of the tables: how many rows each returns, and the first of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use serde_json::{Map, Value};
use ticklake_sql::checks::{self, Check};
use ticklake_sql::{Lake, Table, TableName};

use super::bronze::lock;
use super::options::VerifyOptions;
use super::report::Difference;
use super::run::Proof;
use super::snapshot::Snapshot;
use crate::error::Step;
use crate::scan::{DataFile, OrderedScan, session};
use crate::{Error, Result};

/// Memory of one check; what does not fit is spilled.
const MEMORY_BYTES: usize = 512 << 20;
/// What stands for the bars of each interval in turn.
const EACH_INTERVAL: &str = "gold.ohlcv";

/// What one check found in one set of tables.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    pub check: &'static str,
    /// The table that it looks into.
    pub table: String,
    /// Rows that it returned, and the first of them by column.
    pub rows: u64,
    pub first: Vec<Map<String, Value>>,
    pub elapsed: Duration,
}

impl Proof<'_> {
    /// What the statements of `sql/checks/` return.
    pub(super) async fn checks(&self) -> Result<()> {
        for result in run_checks(self.lake, self.options, &self.unreadable).await? {
            let mut report = lock(&self.report);
            report.checks += 1;
            let unnamed = result.rows.saturating_sub(result.first.len() as u64);
            let last = result.first.len().saturating_sub(1);
            for (number, at) in result.first.into_iter().enumerate() {
                let difference = Difference {
                    check: result.check,
                    table: result.table.clone(),
                    at,
                    what: format!("the check sql/checks/{}.sql returns this row", result.check),
                };
                let count = if number == last { 1 + unnamed } else { 1 };
                report.differ(count, difference);
            }
        }
        Ok(())
    }
}

/// Runs every check whose tables exist. `unreadable`: paths of files to pass over.
pub async fn run_checks(
    lake: &Lake,
    options: &VerifyOptions,
    unreadable: &HashSet<String>,
) -> Result<Vec<CheckResult>> {
    let pool = Arc::new(FairSpillPool::new(MEMORY_BYTES));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .build_arc()
        .step("prepare the checks")?;
    let mut results = Vec::new();
    for check in &checks::ALL {
        for tables in tables_of(check, options)? {
            let mut snapshots = Vec::new();
            for (_, name) in &tables {
                snapshots.extend(Snapshot::newest(lake, name).await?);
            }
            if snapshots.len() == tables.len() {
                results.push(run(check, &tables, &snapshots, runtime.clone(), options, unreadable).await?);
            }
        }
    }
    Ok(results)
}

/// Runs every check and appends what it found to system.checks; a row that offends is logged too.
pub async fn check_and_record(lake: &Lake, options: &VerifyOptions) -> Result<Vec<CheckResult>> {
    let results = run_checks(lake, options, &HashSet::new()).await?;
    for result in &results {
        let (check, table, offending) = (result.check, result.table.as_str(), result.rows);
        let elapsed_ms = millis(result.elapsed);
        match result.first.first() {
            None => tracing::info!(check, table, offending, elapsed_ms, "checked"),
            Some(first) => tracing::warn!(
                check,
                table,
                offending,
                ?first,
                elapsed_ms,
                "a check found rows that offend"
            ),
        }
    }
    if !results.is_empty() {
        record(lake, &results).await?;
    }
    Ok(results)
}

async fn record(lake: &Lake, results: &[CheckResult]) -> Result<()> {
    let step = "record what the checks found";
    let table = lake.create_table(&TableName::system_checks()).await.step(step)?;
    let now = lake.clock().now();
    let checked_at = TimestampMicrosecondArray::from_value(now.timestamp_micros(), results.len()).with_timezone("UTC");
    let text = |of: &dyn Fn(&CheckResult) -> Option<String>| -> ArrayRef {
        Arc::new(results.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&CheckResult) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(results.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(checked_at),
        text(&|result| Some(result.check.to_owned())),
        text(&|result| Some(result.table.clone())),
        number(&|result| i64::try_from(result.rows).unwrap_or(i64::MAX)),
        text(&|result| {
            result
                .first
                .first()
                .map(|first| Value::Object(first.clone()).to_string())
        }),
        number(&|result| millis(result.elapsed)),
    ];
    let rows = RecordBatch::try_new(table.spec().file_schema(), columns).step(step)?;
    crate::system::append(&table, now, rows).await
}

fn millis(elapsed: Duration) -> i64 {
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// The tables of a check under the names that it knows them by, once an interval where it is about bars.
fn tables_of(check: &Check, options: &VerifyOptions) -> Result<Vec<Vec<(&'static str, TableName)>>> {
    let fixed = |interval: Option<&str>| {
        check
            .tables
            .iter()
            .map(|name| match interval {
                Some(interval) if *name == EACH_INTERVAL => Ok((*name, TableName::gold_ohlcv(interval))),
                _ => Ok((*name, TableName::parse(name).step("find the tables of a check")?)),
            })
            .collect::<Result<Vec<_>>>()
    };
    if check.tables.contains(&EACH_INTERVAL) {
        options.gold.iter().map(|gold| fixed(Some(&gold.interval))).collect()
    } else {
        Ok(vec![fixed(None)?])
    }
}

async fn run(
    check: &Check,
    tables: &[(&'static str, TableName)],
    snapshots: &[Snapshot],
    runtime: Arc<RuntimeEnv>,
    options: &VerifyOptions,
    unreadable: &HashSet<String>,
) -> Result<CheckResult> {
    let started = Instant::now();
    let step = "run a check";
    let opened: Vec<&Table> = snapshots.iter().map(|snapshot| &snapshot.table).collect();
    let context = session::session(runtime, session::config(options.files_at_once), &opened).step(step)?;
    let catalog = Arc::new(MemoryCatalogProvider::new());
    for ((known_as, _), snapshot) in tables.iter().zip(snapshots) {
        register(&catalog, known_as, snapshot, unreadable)?;
    }
    let context = with_catalog(context, catalog);
    let mut result = CheckResult {
        check: check.name,
        table: tables.last().map(|(_, name)| name.to_string()).unwrap_or_default(),
        rows: 0,
        first: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let mut batches = context
        .sql(check.sql)
        .await
        .step(step)?
        .execute_stream()
        .await
        .step(step)?;
    while let Some(batch) = batches.next().await {
        let batch = batch.step(step)?;
        let room = options.named.saturating_sub(result.first.len()).min(batch.num_rows());
        result.first.extend(texts(&batch.slice(0, room))?);
        result.rows += batch.num_rows() as u64;
    }
    result.elapsed = started.elapsed();
    Ok(result)
}

fn register(
    catalog: &MemoryCatalogProvider,
    known_as: &str,
    snapshot: &Snapshot,
    unreadable: &HashSet<String>,
) -> Result<()> {
    let step = "prepare a check";
    let spec = snapshot.table.spec();
    let readable = snapshot.adds.iter().filter(|add| !unreadable.contains(&add.path));
    let files = readable.map(|add| Arc::new(DataFile::new(add.clone(), spec))).collect();
    let (schema_name, table_name) = known_as
        .split_once('.')
        .ok_or_else(|| Error::Internal(format!("a check reads {known_as}")))?;
    let schema = match catalog.schema(schema_name) {
        Some(schema) => schema,
        None => {
            let schema = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(schema_name, schema.clone()).step(step)?;
            schema
        }
    };
    let scan = OrderedScan::new(snapshot.table.clone(), files).step(step)?;
    schema
        .register_table(table_name.to_owned(), Arc::new(scan))
        .step(step)?;
    Ok(())
}

/// The session's default catalog is replaced: a check knows its own tables and no others.
fn with_catalog(context: SessionContext, catalog: Arc<MemoryCatalogProvider>) -> SessionContext {
    context.register_catalog("datafusion", catalog);
    context
}

fn texts(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let step = "show what a check found";
    let options = FormatOptions::default().with_null("NULL");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()
        .step(step)?;
    let schema = batch.schema();
    let row = |row| {
        let value = |(field, column): (&arrow::datatypes::FieldRef, &ArrayFormatter<'_>)| {
            (field.name().clone(), Value::from(column.value(row).to_string()))
        };
        schema.fields().iter().zip(&columns).map(value).collect()
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

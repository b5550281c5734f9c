//! `gold.latest`: the newest bar and trade of each venue and symbol, kept in memory.
//!
//! A function of one version of `gold.ohlcv_1m`, so a ticket's version says what it holds. A new version costs a read of its new files; the
//! whole table is read again only for the first one, and where a bar that was shown is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::collect;
use ticklake_sql::TableName;
use ticklake_sql::ddl::TableSpec;

use crate::bind;
use crate::error::{Error, Result};
use crate::schemas::{Catalogs, PinnedCatalog};
use crate::version::TableVersion;

pub const SCHEMA: &str = "gold";
pub const TABLE: &str = "latest";
const COMMENT: &str = "the newest bar of each venue and symbol that traded in the last seven days; close and last_ts are those of its last trade";
const QUERY: &str = include_str!("latest.sql");
/// A symbol that has not traded for longer before the newest bar is left out: bounds what the first look reads.
const LOOK_BACK_US: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Versions kept for tickets that are still out.
const KEPT: usize = 8;

/// What it is made from.
pub fn source() -> TableName {
    TableName::gold_ohlcv("1m")
}

/// The table as catalogs describe it, beside the one that it is made from.
pub fn spec(source: &TableSpec) -> Result<TableSpec> {
    Ok(TableSpec {
        name: TableName::parse(&format!("{SCHEMA}.{TABLE}"))?,
        comment: COMMENT.to_owned(),
        schema: schema(&source.schema)?,
        partition_columns: Vec::new(),
        ..source.clone()
    })
}

fn schema(source: &Schema) -> Result<SchemaRef> {
    let price = source.field_with_name("close")?.clone().with_name("last_price");
    let fields = source.fields().iter().cloned().chain([Arc::new(price)]);
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The table without rows, for lists of tables.
pub fn empty(source: &TableVersion) -> Result<Arc<dyn TableProvider>> {
    let schema = schema(source.schema())?;
    table(RecordBatch::new_empty(plain(&schema)))
}

/// As plans know it: without comments.
fn plain(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn table(rows: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

#[derive(Debug, Default)]
pub struct Latest {
    /// By version, ascending. One is computed at a time: the next ones follow from it.
    held: tokio::sync::Mutex<VecDeque<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    version: Arc<TableVersion>,
    rows: RecordBatch,
}

impl Latest {
    /// The table at `version` of its source; `template` plans what has to be read.
    pub async fn at(&self, version: &Arc<TableVersion>, template: &SessionState) -> Result<Arc<dyn TableProvider>> {
        let mut held = self.held.lock().await;
        let place = held.partition_point(|h| h.version.version() < version.version());
        if let Some(known) = held.get(place).filter(|h| h.version.version() == version.version()) {
            return table(known.rows.clone());
        }
        let before = place.checked_sub(1).and_then(|at| held.get(at)).cloned();
        let rows = match before {
            Some(before) => following(&before, version, template).await?,
            None => whole(version, template).await?,
        };
        held.insert(
            place,
            Held {
                version: version.clone(),
                rows: rows.clone(),
            },
        );
        if held.len() > KEPT {
            held.pop_front();
        }
        table(rows)
    }
}

async fn whole(version: &Arc<TableVersion>, template: &SessionState) -> Result<RecordBatch> {
    let from_us = version.newest_us().map_or(0, |us| us.saturating_sub(LOOK_BACK_US));
    pick(&read(version.clone(), from_us, template).await?)
}

/// The newest bars of what was added, over those of before.
async fn following(before: &Held, version: &Arc<TableVersion>, template: &SessionState) -> Result<RecordBatch> {
    let added = version.only(|file| !before.version.holds(&file.path));
    let newer = if added.is_empty() {
        before.rows.slice(0, 0)
    } else {
        read(Arc::new(added), 0, template).await?
    };
    let removed = before.version.only(|file| !version.holds(&file.path));
    if loses(&before.rows, &newer, &removed)? {
        return whole(version, template).await;
    }
    // Of equal windows the later row wins.
    pick(&concat_batches(&before.rows.schema(), [&before.rows, &newer])?)
}

/// Whether a bar of `before` may have stood in a file that was removed, and none as new has come for its symbol.
fn loses(before: &RecordBatch, newer: &RecordBatch, removed: &TableVersion) -> Result<bool> {
    let spans = removed.spans_us();
    if spans.is_empty() {
        return Ok(false);
    }
    let newer = newest(newer)?;
    Ok(newest(before)?.into_iter().any(|(key, bar)| {
        let reached = newer.get(&key).is_some_and(|other| other.window_us >= bar.window_us);
        !reached && spans.iter().any(|(from, to)| (*from..=*to).contains(&bar.window_us))
    }))
}

async fn read(files: Arc<TableVersion>, from_us: i64, template: &SessionState) -> Result<RecordBatch> {
    let mut state = template.clone();
    let catalog = PinnedCatalog::new(|_| true, [files], BTreeMap::new());
    state.register_catalog_list(Arc::new(Catalogs(Arc::new(catalog))));
    let from = ScalarValue::TimestampMicrosecond(Some(from_us), Some("UTC".into()));
    let plan = bind::values(&state.create_logical_plan(QUERY).await?, vec![from])?;
    let plan = state.create_physical_plan(&plan).await?;
    let schema = plan.schema();
    let batches = collect(plan, state.task_ctx()).await?;
    Ok(concat_batches(&schema, &batches)?)
}

#[derive(Debug, Clone, Copy)]
struct Bar {
    row: usize,
    window_us: i64,
}

/// The newest bar of each venue and symbol; of equal windows the last one.
fn newest(rows: &RecordBatch) -> Result<BTreeMap<(&str, &str), Bar>> {
    let missing = || Error::Internal("a bar without venue, symbol or window".into());
    let text = |name: &str| {
        let column = rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        column.ok_or_else(missing)
    };
    let (venues, symbols) = (text("venue")?, text("symbol")?);
    let windows = rows.column_by_name("window_start");
    let windows = windows.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    let windows = windows.ok_or_else(missing)?;
    let mut found: BTreeMap<(&str, &str), Bar> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let window_us = windows.value(row);
        let bar = Bar { row, window_us };
        let known = found.entry((venues.value(row), symbols.value(row))).or_insert(bar);
        if known.window_us <= window_us {
            *known = bar;
        }
    }
    Ok(found)
}

/// One row a venue and symbol, in their order, without those that are too old.
fn pick(rows: &RecordBatch) -> Result<RecordBatch> {
    let bars = newest(rows)?;
    let last_us = bars.values().map(|bar| bar.window_us).max().unwrap_or_default();
    let from_us = last_us.saturating_sub(LOOK_BACK_US);
    let recent = bars.values().filter(|bar| bar.window_us >= from_us);
    let places: UInt64Array = recent.map(|bar| bar.row as u64).collect::<Vec<_>>().into();
    Ok(take_record_batch(rows, &places)?)
}

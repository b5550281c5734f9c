//! `gold.latest`: the newest bar of each venue and symbol with its last trade, kept in memory.
//!
//! A function of one version of `gold.ohlcv_1m`, so a ticket's version says what it holds; the trade is the one that the bar ends with, out of
//! `silver.trades`. `bars` finds newest bars, `trades` what they end with, `follow` makes the rows of a version from those of the one before.

mod bars;
mod follow;
mod trades;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::collect;
use ticklake_sql::ddl::TableSpec;
use ticklake_sql::{TableName, tables};

use crate::error::Result;
use crate::schemas::{Catalogs, Made, PinnedCatalog};
use crate::version::TableVersion;

use follow::Held;

pub const SCHEMA: &str = "gold";
pub const TABLE: &str = "latest";
const COMMENT: &str = "the newest bar of each venue and symbol, with its last trade";
/// Of the trade: its name in silver, its name here, what it says.
const TRADE: [(&str, &str, &str); 4] = [
    (
        "price",
        "last_price",
        "price of the last trade; the bar's close where silver no longer holds the trade",
    ),
    ("qty", "last_qty", "quantity of the last trade, base units"),
    (
        "side",
        "last_side",
        "taker side of the last trade, buy or sell; NULL where the venue does not tell",
    ),
    (
        "trade_id",
        "last_trade_id",
        "id of the last trade in silver.trades; NULL where that no longer holds it",
    ),
];
/// Versions kept for tickets that are still out.
const KEPT: usize = 8;

/// What it is made from: the bars, which say its version.
pub fn source() -> TableName {
    TableName::gold_ohlcv("1m")
}

/// And where the trades of the bars are found.
pub fn trades() -> TableName {
    TableName::silver_trades()
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
    let silver = tables::spec(&trades())?;
    let mut fields: Vec<_> = source.fields().iter().cloned().collect();
    for (column, name, comment) in TRADE {
        let field = silver.schema.field_with_name(column)?.clone().with_nullable(true);
        let comment = HashMap::from([("comment".to_owned(), comment.to_owned())]);
        fields.push(Arc::new(field.with_name(name).with_metadata(comment)));
    }
    Ok(Arc::new(Schema::new(fields)))
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

/// Rows of `sql` over `version` and the tables of `made`.
async fn rows(sql: &str, version: Option<TableVersion>, made: Made, template: &SessionState) -> Result<RecordBatch> {
    let mut state = template.clone();
    let catalog = PinnedCatalog::new(|_| true, version.map(Arc::new), made);
    state.register_catalog_list(Arc::new(Catalogs(Arc::new(catalog))));
    let plan = state.create_logical_plan(sql).await?;
    let plan = state.create_physical_plan(&plan).await?;
    let schema = plan.schema();
    let batches = collect(plan, state.task_ctx()).await?;
    Ok(concat_batches(&schema, &batches)?)
}

#[derive(Debug, Default)]
pub struct Latest {
    /// By version, ascending. One is computed at a time: the next ones follow from it.
    held: tokio::sync::Mutex<VecDeque<Held>>,
}

impl Latest {
    /// The table at `version` of its source, with trades out of `trades`; `template` plans what has to be read.
    pub async fn at(
        &self,
        version: &Arc<TableVersion>,
        trades: Option<&TableVersion>,
        template: &SessionState,
    ) -> Result<Arc<dyn TableProvider>> {
        let mut held = self.held.lock().await;
        // A table that was made again counts from the beginning.
        held.retain(|h| h.version.version() != version.version() || h.version.has_same_files(version));
        let place = held.partition_point(|h| h.version.version() < version.version());
        let looked = trades.map(TableVersion::version);
        if let Some(known) = held.get_mut(place).filter(|h| h.version.version() == version.version()) {
            if known.looked != looked && known.lacks_trades() {
                known.rows = follow::again(known, trades, template).await?;
                known.looked = looked;
            }
            return table(known.rows.clone());
        }
        let before = place.checked_sub(1).and_then(|at| held.get(at)).cloned();
        let rows = match before {
            Some(before) => follow::following(&before, version, trades, template).await?,
            None => follow::whole(version, trades, template).await?,
        };
        let next = Held {
            version: version.clone(),
            looked,
            rows: rows.clone(),
        };
        held.insert(place, next);
        if held.len() > KEPT {
            held.pop_front();
        }
        table(rows)
    }
}

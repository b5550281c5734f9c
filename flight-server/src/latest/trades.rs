//! The trades that bars end with, out of the few files of `silver.trades` that may hold them.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::execution::session_state::SessionState;
use ticklake_sql::tables;

use super::bars::times;
use super::{plain, rows, schema, table};
use crate::error::Result;
use crate::scan::PinnedTable;
use crate::schemas::Made;
use crate::version::TableVersion;

const TRADES: &str = include_str!("trades.sql");

/// `bars` with the columns of their last trades.
pub async fn ended(bars: RecordBatch, trades: Option<&TableVersion>, template: &SessionState) -> Result<RecordBatch> {
    let schema = plain(schema(&bars.schema())?.as_ref());
    if bars.num_rows() == 0 {
        return Ok(RecordBatch::new_empty(schema));
    }
    let ends: BTreeSet<i64> = times(&bars, "last_ts")?.values().iter().copied().collect();
    let first_us = ends.first().copied().unwrap_or_default();
    let made = Made::from([
        (("latest", "bars"), table(bars)?),
        (("silver", "trades"), files(trades.map(|all| all.holding(&ends)))?),
        // Nothing amends a trade before it is made.
        (("silver", "amendments"), files(trades.map(|all| all.since(first_us)))?),
    ]);
    let rows = rows(TRADES, None, made, template).await?;
    Ok(RecordBatch::try_new(schema, rows.columns().to_vec())?)
}

fn files(trades: Option<TableVersion>) -> Result<Arc<dyn TableProvider>> {
    match trades {
        Some(files) => Ok(Arc::new(PinnedTable::new(Arc::new(files)))),
        None => {
            let silver = tables::spec(&super::trades())?;
            table(RecordBatch::new_empty(plain(&silver.schema)))
        }
    }
}

//! What a rebuild changes: the rows of the range as they stand against those of the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};
use ticklake_sql::{Table, models};

use super::range::RebuildRange;
use crate::error::Step;
use crate::scan::{DataFile, OrderedScan, session};
use crate::{Error, Result};

/// Of the join of both sides; what does not fit is spilled.
const MEMORY_BYTES: usize = 512 << 20;

/// Rows by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    pub rows_before: u64,
    pub rows_after: u64,
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// Column -> rows in which it changed, those that did.
    pub by_field: BTreeMap<String, u64>,
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.added + self.removed + self.changed == 0
    }
}

/// `before` and `after`: files of a table that may hold rows of the range.
pub async fn diff(
    before: (&Table, &[Arc<DataFile>]),
    after: (&Table, &[Arc<DataFile>]),
    range: &RebuildRange,
) -> Result<Diff> {
    let step = "compare a rebuild with what stands";
    let (time_column, model) = if before.0.spec().schema.field_with_name("window_start").is_ok() {
        ("window_start", models::REBUILT_BARS)
    } else {
        ("ts", models::REBUILT_TRADES)
    };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(MEMORY_BYTES)))
        .build_arc()
        .step(step)?;
    let context = session::session(runtime, session::config(2), &[before.0, after.0]).step(step)?;
    for (name, (table, files)) in [("before", before), ("after", after)] {
        let rows = within(&context, table, files, range, time_column).step(step)?;
        context.register_table(name, rows.into_view()).step(step)?;
    }
    let counts = context.sql(model).await.step(step)?.collect().await.step(step)?;
    let counts = counts
        .first()
        .filter(|counts| counts.num_rows() == 1)
        .ok_or_else(|| Error::Internal("a comparison without a result".into()))?;
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (field, column) in counts.schema().fields().iter().zip(counts.columns()) {
        let count = column.as_primitive_opt::<Int64Type>().map_or(0, |count| count.value(0));
        by_name.insert(field.name().clone(), u64::try_from(count).unwrap_or(0));
    }
    let mut take = |name: &str| by_name.remove(name).unwrap_or(0);
    let mut diff = Diff {
        rows_before: take("rows_before"),
        rows_after: take("rows_after"),
        added: take("added"),
        removed: take("removed"),
        changed: take("changed"),
        by_field: BTreeMap::new(),
    };
    diff.by_field = by_name.into_iter().filter(|(_, count)| *count > 0).collect();
    Ok(diff)
}

fn within(
    context: &SessionContext,
    table: &Table,
    files: &[Arc<DataFile>],
    range: &RebuildRange,
    time_column: &str,
) -> Result<DataFrame, datafusion::error::DataFusionError> {
    let utc = |us: i64| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    let rows = context
        .read_table(Arc::new(OrderedScan::new(table.clone(), files.to_vec())?))?
        .filter(
            col(time_column)
                .gt_eq(utc(range.from_us))
                .and(col(time_column).lt(utc(range.until_us))),
        )?;
    match &range.symbols {
        None => Ok(rows),
        Some(symbols) => {
            rows.filter(col("symbol").in_list(symbols.iter().map(|symbol| lit(symbol.as_str())).collect(), false))
        }
    }
}

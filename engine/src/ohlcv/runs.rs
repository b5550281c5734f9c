//! The partial step of the aggregate over sorted files: neighbouring rows of one group are folded together, nothing is hashed, nothing is kept.
//!
//! Each batch gives one half-made bar a run of rows with equal keys; the final step merges them. The answer is therefore right
//! for any input, and quick for input in which the rows of a group stand together.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{SortColumn, cast, lexsort_to_indices, take};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;

use super::bar::Bar;
use super::state;
use super::trades::Trades;

/// Below this many rows a run, on average, the rows of a batch are brought together first.
const SHORT_RUN_ROWS: usize = 4;

/// One key column of the groups.
#[derive(Debug, Clone)]
pub enum Key {
    Value(Arc<dyn PhysicalExpr>),
    /// `date_bin` of a fixed width over a timestamp in microseconds: found by comparing with the window at hand, divided only where one ends.
    Window {
        ts: Arc<dyn PhysicalExpr>,
        width_us: i64,
        /// A window starts here.
        origin_us: i64,
        data_type: DataType,
    },
}

/// Replaces the partial step of a GROUP BY whose only aggregate is `ohlcv`.
#[derive(Debug)]
pub struct BarRunsExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Key>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl BarRunsExec {
    /// `schema`: of the partial step that this one replaces.
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        keys: Vec<Key>,
        arguments: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    ) -> Self {
        let partitioning =
            datafusion::physical_plan::Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            input,
            keys,
            arguments,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for BarRunsExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BarRunsExec: keys={}", self.keys.len())
    }
}

impl ExecutionPlan for BarRunsExec {
    fn name(&self) -> &str {
        "BarRunsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let keys = self.keys.iter().map(|key| match key {
            Key::Value(value) => value,
            Key::Window { ts, .. } => ts,
        });
        for expression in keys.chain(&self.arguments) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(
                input,
                self.keys.clone(),
                self.arguments.clone(),
                self.schema(),
            ))),
            _ => internal_err!("BarRunsExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (keys, arguments, schema) = (self.keys.clone(), self.arguments.clone(), self.schema());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let folded = input.map(move |batch| {
            let _timer = metrics.elapsed_compute().timer();
            let folded = fold(&batch?, &keys, &arguments, &schema)?;
            metrics.output_rows().add(folded.num_rows());
            Ok(folded)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), folded)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn fold(
    batch: &RecordBatch,
    keys: &[Key],
    arguments: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let evaluate = |expression: &Arc<dyn PhysicalExpr>| expression.evaluate(batch)?.into_array(batch.num_rows());
    let mut key_columns: Vec<ArrayRef> = keys.iter().map(|key| key.column(batch)).collect::<Result<_>>()?;
    let mut argument_columns: Vec<ArrayRef> = arguments.iter().map(evaluate).collect::<Result<_>>()?;
    let mut starts = run_starts(&key_columns, batch.num_rows())?;
    if starts.len() * SHORT_RUN_ROWS > batch.num_rows() {
        let order = together(&key_columns)?;
        for column in key_columns.iter_mut().chain(&mut argument_columns) {
            *column = take(column, &order, None)?;
        }
        starts = run_starts(&key_columns, batch.num_rows())?;
    }
    let trades = Trades::new(&argument_columns, None)?;
    let ends = starts.iter().skip(1).map(|start| *start as usize).chain([trades.len()]);
    let mut bars = Vec::with_capacity(starts.len());
    for (start, end) in starts.iter().zip(ends) {
        let mut bar = Bar::default();
        fold_valid(&mut bar, &trades, *start as usize, end);
        bars.push(bar);
    }
    let starts = UInt32Array::from(starts);
    let mut columns: Vec<ArrayRef> = key_columns
        .iter()
        .map(|column| Ok(take(column, &starts, None)?))
        .collect::<Result<_>>()?;
    for (column, key) in columns.iter_mut().zip(keys) {
        if let Key::Window { data_type, .. } = key {
            *column = cast(column, data_type)?;
        }
    }
    columns.extend(state::encode(&bars));
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn fold_valid(bar: &mut Bar, trades: &Trades, from: usize, until: usize) {
    if trades.valid.is_none() {
        return bar.fold(trades, from, until);
    }
    for row in from..until {
        if trades.is_valid(row) {
            bar.fold(trades, row, row + 1);
        }
    }
}

impl Key {
    /// The key of each row. A window is in microseconds here, whatever the plan wants in the end.
    fn column(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        match self {
            Key::Value(value) => value.evaluate(batch)?.into_array(batch.num_rows()),
            Key::Window {
                ts,
                width_us,
                origin_us,
                ..
            } => {
                let ts = ts.evaluate(batch)?.into_array(batch.num_rows())?;
                let ts = ts.as_primitive::<TimestampMicrosecondType>();
                let starts = window_starts(ts.values(), *width_us, *origin_us);
                let timezone = match ts.data_type() {
                    DataType::Timestamp(TimeUnit::Microsecond, timezone) => timezone.clone(),
                    _ => None,
                };
                Ok(Arc::new(
                    TimestampMicrosecondArray::new(starts.into(), ts.nulls().cloned()).with_timezone_opt(timezone),
                ))
            }
        }
    }
}

fn window_starts(ts: &[i64], width_us: i64, origin_us: i64) -> Vec<i64> {
    let (mut start, mut end) = (0, 0);
    ts.iter()
        .map(|ts| {
            if *ts < start || *ts >= end {
                let from_origin = ts
                    .saturating_sub(origin_us)
                    .div_euclid(width_us)
                    .saturating_mul(width_us);
                start = origin_us.saturating_add(from_origin);
                end = start.saturating_add(width_us);
            }
            start
        })
        .collect()
}

/// First rows of the runs of equal keys.
fn run_starts(keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    let mut changes = vec![false; rows];
    changes[0] = true;
    for key in keys {
        mark_changes(key, &mut changes)?;
    }
    Ok(changes
        .iter()
        .enumerate()
        .filter(|(_, changes)| **changes)
        .map(|(row, _)| row as u32)
        .collect())
}

/// Marks each row whose key is another than that of the row before.
fn mark_changes(key: &ArrayRef, changes: &mut [bool]) -> Result<()> {
    if key.null_count() == 0 && key.data_type() == &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())) {
        let values = key.as_primitive::<TimestampMicrosecondType>().values();
        values
            .windows(2)
            .zip(&mut changes[1..])
            .for_each(|(pair, change)| *change |= pair[0] != pair[1]);
        return Ok(());
    }
    if key.null_count() == 0 && key.data_type() == &DataType::Utf8View {
        // Equal views are equal texts; for texts of at most 12 bytes the converse holds too, others are looked at once more.
        let texts = key.as_string_view();
        let views = texts.views();
        for (row, pair) in views.windows(2).enumerate() {
            if pair[0] != pair[1] && !changes[row + 1] {
                changes[row + 1] = pair[0] as u32 != pair[1] as u32
                    || pair[0] as u32 <= 12
                    || texts.value(row) != texts.value(row + 1);
            }
        }
        return Ok(());
    }
    let rows = key.len();
    let differs = distinct(&key.slice(0, rows - 1), &key.slice(1, rows - 1))?;
    differs
        .values()
        .iter()
        .zip(&mut changes[1..])
        .for_each(|(differs, change)| *change |= differs);
    Ok(())
}

/// An order of the rows that brings equal keys together: for files where venues alternate inside a symbol.
fn together(keys: &[ArrayRef]) -> Result<UInt32Array> {
    let columns: Vec<SortColumn> = keys
        .iter()
        .map(|key| SortColumn {
            values: key.clone(),
            options: None,
        })
        .collect();
    Ok(lexsort_to_indices(&columns, None)?)
}

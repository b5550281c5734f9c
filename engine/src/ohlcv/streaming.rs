//! Where the bars of a plan come from files with a stored order, its partial step becomes [`BarRunsExec`].

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_expr::expressions::{CastExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use super::runs::{BarRunsExec, Key};
use super::udaf::Ohlcv;

const DAY_US: i64 = 86_400_000_000;

/// Adds the streaming form of `ohlcv` to the plans of a session.
pub fn stream_sorted(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.with_physical_optimizer_rule(Arc::new(StreamSortedBars))
}

#[derive(Debug)]
struct StreamSortedBars;

impl PhysicalOptimizerRule for StreamSortedBars {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<AggregateExec>() {
            Some(aggregate) if is_streamable(aggregate) => Ok(Transformed::yes(streamed(aggregate)?)),
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "stream_sorted_bars"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_streamable(aggregate: &AggregateExec) -> bool {
    let [bar] = aggregate.aggr_expr() else { return false };
    let is_first_step = matches!(
        aggregate.mode(),
        AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
    );
    is_first_step
        && bar.fun().inner().downcast_ref::<Ohlcv>().is_some()
        && !bar.is_distinct()
        && bar.order_bys().is_empty()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.group_expr().is_single()
        && !aggregate.group_expr().expr().is_empty()
        && aggregate.limit_options().is_none()
        && reads_sorted_files(aggregate.input())
}

/// Every leaf is a scan of files that each have an order, and nothing on the way mixes rows within a batch.
fn reads_sorted_files(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some(files) = scan.data_source().downcast_ref::<FileScanConfig>() else {
            return false;
        };
        return files
            .file_groups
            .iter()
            .flat_map(|group| group.files())
            .all(|file| file.ordering.is_some());
    }
    if let Some(spread) = plan.downcast_ref::<RepartitionExec>() {
        return matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_)) && reads_sorted_files(spread.input());
    }
    const KEEP_NEIGHBOURS: [&str; 7] = [
        "FilterExec",
        "ProjectionExec",
        "UnionExec",
        "InterleaveExec",
        "CooperativeExec",
        "CoalescePartitionsExec",
        "CoalesceBatchesExec",
    ];
    KEEP_NEIGHBOURS.contains(&plan.name())
        && !plan.children().is_empty()
        && plan.children().into_iter().all(reads_sorted_files)
}

fn streamed(aggregate: &AggregateExec) -> Result<Arc<dyn ExecutionPlan>> {
    let (group, bars, filters) = (aggregate.group_expr(), aggregate.aggr_expr(), aggregate.filter_expr());
    let input = aggregate.input();
    let partial = if *aggregate.mode() == AggregateMode::Partial {
        aggregate.schema()
    } else {
        AggregateExec::try_new(
            AggregateMode::Partial,
            group.clone(),
            bars.to_vec(),
            filters.to_vec(),
            input.clone(),
            aggregate.input_schema(),
        )?
        .schema()
    };
    let keys = group
        .expr()
        .iter()
        .map(|(key, _)| key_of(key, input))
        .collect::<Result<_>>()?;
    let arguments = bars.iter().flat_map(|bar| bar.expressions()).collect();
    let runs = Arc::new(BarRunsExec::new(input.clone(), keys, arguments, partial));
    let finish = match aggregate.mode() {
        AggregateMode::Single => AggregateMode::Final,
        AggregateMode::SinglePartitioned => AggregateMode::FinalPartitioned,
        _ => return Ok(runs),
    };
    Ok(Arc::new(AggregateExec::try_new(
        finish,
        group.as_final(),
        bars.to_vec(),
        filters.to_vec(),
        runs,
        aggregate.input_schema(),
    )?))
}

/// Recognises `date_bin(<fixed width>, <timestamp in microseconds> [, <origin in nanoseconds>])`, cast or not.
fn key_of(key: &Arc<dyn PhysicalExpr>, input: &Arc<dyn ExecutionPlan>) -> Result<Key> {
    let schema = input.schema();
    let value = || Key::Value(key.clone());
    let Some(call) = key
        .downcast_ref::<ScalarFunctionExpr>()
        .filter(|call| call.name() == "date_bin")
    else {
        return Ok(value());
    };
    let (width, ts, origin) = match call.args() {
        [width, ts] => (width, ts, None),
        [width, ts, origin] => (width, ts, Some(origin)),
        _ => return Ok(value()),
    };
    let literal = |expression: &Arc<dyn PhysicalExpr>| {
        let literal = expression.downcast_ref::<Literal>()?;
        Some(literal.value().clone())
    };
    let Some(width_us) = literal(width).and_then(|width| micros(&width)) else {
        return Ok(value());
    };
    let Some(origin_us) = origin.map_or(Some(0), |origin| literal(origin).and_then(|origin| instant(&origin))) else {
        return Ok(value());
    };
    let ts = ts.downcast_ref::<CastExpr>().map_or(ts, |cast| cast.expr());
    match ts.data_type(&schema)? {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(Key::Window {
            ts: ts.clone(),
            width_us,
            origin_us,
            data_type: key.data_type(&schema)?,
        }),
        _ => Ok(value()),
    }
}

fn instant(origin: &ScalarValue) -> Option<i64> {
    match origin {
        ScalarValue::TimestampNanosecond(Some(nanos), _) if nanos % 1_000 == 0 => Some(nanos / 1_000),
        _ => None,
    }
}

fn micros(width: &ScalarValue) -> Option<i64> {
    let (months, days, nanos) = match width {
        ScalarValue::IntervalMonthDayNano(Some(width)) => (width.months, i64::from(width.days), width.nanoseconds),
        ScalarValue::IntervalDayTime(Some(width)) => {
            (0, i64::from(width.days), i64::from(width.milliseconds) * 1_000_000)
        }
        _ => return None,
    };
    let width_us = days.checked_mul(DAY_US)?.checked_add(nanos / 1_000)?;
    (months == 0 && nanos % 1_000 == 0 && width_us > 0).then_some(width_us)
}

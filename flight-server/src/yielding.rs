//! Joins that let go: a cancelled query stops within moments.
//!
//! DataFusion's joins compute for seconds without returning to the scheduler; sorts and scans do not
//! (https://github.com/apache/datafusion/issues/19358). A physical rule wraps every join. A join whose filter keeps nothing
//! has no batch to return with, and neither has one that only asks whether there is a match (semi, anti, mark): their filter looks at
//! the token itself, and those without one get one for that. Sort-merge, piecewise and symmetric joins are not planned: what plans them
//! is off, and no statement can turn it on.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, JoinType, Result as DFResult};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Runs after every other rule.
#[derive(Debug, Default)]
pub struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DFResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(if is_join(node.as_ref()) {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
            } else {
                Transformed::no(node)
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "yielding_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

pub fn is_join(node: &dyn ExecutionPlan) -> bool {
    node.is::<CrossJoinExec>()
        || node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
}

/// `plan` with joins that end soon after `cancel`.
pub fn cancellable(plan: Arc<dyn ExecutionPlan>, cancel: &CancellationToken) -> DFResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let join: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let Some(filter) = checked(join.filter(), *join.join_type(), cancel) else {
                return Ok(Transformed::no(node));
            };
            let builder = NestedLoopJoinExecBuilder::from(join);
            Arc::new(builder.with_filter(Some(filter)).build()?)
        } else if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            let Some(filter) = checked(join.filter(), *join.join_type(), cancel) else {
                return Ok(Transformed::no(node));
            };
            join.builder().with_filter(Some(filter)).build_exec()?
        } else {
            return Ok(Transformed::no(node));
        };
        Ok(Transformed::yes(join))
    })
    .data()
}

/// The filter of a join, which looks at the token; None for one that has none and returns what it matches.
fn checked(filter: Option<&JoinFilter>, join_type: JoinType, cancel: &CancellationToken) -> Option<JoinFilter> {
    let check = |inner: Arc<dyn PhysicalExpr>| {
        Arc::new(Checked {
            inner,
            cancel: cancel.clone(),
        })
    };
    match filter {
        Some(filter) => Some(JoinFilter::new(
            check(filter.expression().clone()),
            filter.column_indices().to_vec(),
            filter.schema().clone(),
        )),
        None if asks_only(join_type) => Some(JoinFilter::new(check(lit(true)), Vec::new(), Arc::new(Schema::empty()))),
        None => None,
    }
}

fn asks_only(join_type: JoinType) -> bool {
    matches!(
        join_type,
        JoinType::LeftSemi
            | JoinType::RightSemi
            | JoinType::LeftAnti
            | JoinType::RightAnti
            | JoinType::LeftMark
            | JoinType::RightMark
    )
}

/// An expression that fails once its query is cancelled.
#[derive(Debug, Clone)]
struct Checked {
    inner: Arc<dyn PhysicalExpr>,
    cancel: CancellationToken,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for Checked {
    fn data_type(&self, schema: &Schema) -> DFResult<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> DFResult<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> DFResult<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DFResult<ColumnarValue> {
        if self.cancel.is_cancelled() {
            return Err(DataFusionError::from(Error::Cancelled));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> DFResult<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| self.inner.clone());
        Ok(Arc::new(Self {
            inner,
            cancel: self.cancel.clone(),
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

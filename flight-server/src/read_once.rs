//! Nested loops that run out of memory end with an error, never with other rows.
//!
//! DataFusion 55.2 reads the side that such a join held once more, to work through it piece by piece. Its scans and exchanges give their rows
//! once: the second reading panics over an exchange, finds less over files that its partitions share, and outer joins then repeat rows
//! (`NestedLoopJoinExec::execute` says so itself). A physical rule puts a node around that side which is not read twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DFResult, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

const WHY: &str = "a join without an equality holds one side whole; narrow that side, or join by an equality";

const RECOMPUTE: ReplaceChildrenOptions = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);

/// Runs after every other rule.
#[derive(Debug, Default)]
pub struct ReadOnce;

impl PhysicalOptimizerRule for ReadOnce {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DFResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let held = Arc::new(ReadOnceExec::new(join.left().clone()));
            let children: Vec<Arc<dyn ExecutionPlan>> = vec![held, join.right().clone()];
            Ok(Transformed::yes(node.replace_children(children, RECOMPUTE)?))
        })
        .data()
    }

    fn name(&self) -> &str {
        "read_once"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Gives the rows of its input to the first who asks.
#[derive(Debug)]
struct ReadOnceExec {
    input: Arc<dyn ExecutionPlan>,
    read: AtomicBool,
}

impl ReadOnceExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            input,
            read: AtomicBool::new(false),
        }
    }
}

impl DisplayAs for ReadOnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadOnceExec")
    }
}

impl ExecutionPlan for ReadOnceExec {
    fn name(&self) -> &str {
        "ReadOnceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DFResult<TreeNodeRecursion>,
    ) -> DFResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DFResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input))),
            _ => internal_err!("{} has one input", self.name()),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DFResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, RECOMPUTE)
    }

    /// Of one partition: a nested loop gathers that side first.
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DFResult<SendableRecordBatchStream> {
        if self.read.swap(true, Ordering::Relaxed) {
            return Err(DataFusionError::ResourcesExhausted(WHY.to_owned()));
        }
        self.input.execute(partition, context)
    }
}

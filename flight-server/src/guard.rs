//! What a plan does to its rows is held to bounds that its operators do not know of.
//!
//! A query that was cancelled stops at the next batch that it reads. A join, UNNEST or a window repeats values, and a constant is
//! repeated for each row of a batch: none may be so wide that a batch of it takes gigabytes. A physical plan is guarded right before it runs.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DFResult, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::growing::{bytes, longest_list, widest};
use crate::yielding::is_join;

/// Bytes of a row, or of a constant, that is repeated for each row of a batch: such a batch has half a gigabyte.
const MAX_WIDTH: f64 = (64 << 10) as f64;
/// Rows that an operator makes at once.
const BATCH_ROWS: f64 = 8_192.0;

/// A guard has the properties of its input.
const KEEP: ReplaceChildrenOptions = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);

/// `plan` with its scans and what repeats their rows under guard.
pub fn guarded(plan: Arc<dyn ExecutionPlan>, cancel: &CancellationToken) -> DFResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        check_constants(node.as_ref())?;
        if node.is::<PlaceholderRowExec>() {
            return Ok(Transformed::no(node));
        }
        if node.children().is_empty() {
            let guard = Guard::new(node, Check::Cancelled(cancel.clone()));
            return Ok(Transformed::yes(Arc::new(guard) as Arc<dyn ExecutionPlan>));
        }
        let Some(lists) = repeats(node.as_ref()) else {
            return Ok(Transformed::no(node));
        };
        let guard = |input: &Arc<dyn ExecutionPlan>| {
            Arc::new(Guard::new(input.clone(), Check::Wide(lists.clone()))) as Arc<dyn ExecutionPlan>
        };
        let inputs = node.children().into_iter().map(guard).collect::<Vec<_>>();
        Ok(Transformed::yes(node.replace_children(inputs, KEEP)?))
    })
    .data()
}

/// The columns of lists that a node opens, where it is one that repeats its other values.
fn repeats(node: &dyn ExecutionPlan) -> Option<Arc<[usize]>> {
    if let Some(unnest) = node.downcast_ref::<UnnestExec>() {
        return Some(
            unnest
                .list_column_indices()
                .iter()
                .map(|list| list.index_in_input_schema)
                .collect(),
        );
    }
    let window = node.is::<WindowAggExec>() || node.is::<BoundedWindowAggExec>();
    (window || is_join(node)).then(|| Arc::from([]))
}

fn check_constants(node: &dyn ExecutionPlan) -> DFResult<()> {
    if node.children().iter().all(|input| input.is::<PlaceholderRowExec>()) {
        return Ok(());
    }
    node.apply_expressions(&mut |expr| {
        expr.apply(|part| {
            if let Some(constant) = part.downcast_ref::<Literal>() {
                let value = constant.value();
                if value.data_type().is_nested() || value.try_as_str().is_some() || value.data_type().is_binary() {
                    check_width("a constant", bytes(value.to_array()?.as_ref()))?;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn check_width(what: &str, width: f64) -> Result<()> {
    if width > MAX_WIDTH {
        return Err(Error::Limit(format!(
            "{what} of {width:.0} bytes would be repeated for every row, {MAX_WIDTH:.0} are allowed; leave it out, cut it \
             by left(), or look at its length alone"
        )));
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum Check {
    Cancelled(CancellationToken),
    /// Too wide to be repeated, but for the lists in these columns, which are opened.
    Wide(Arc<[usize]>),
}

impl Check {
    fn batch(&self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Cancelled(cancel) if cancel.is_cancelled() => Err(Error::Cancelled),
            Self::Cancelled(_) => Ok(()),
            Self::Wide(lists) => check_rows(batch, lists),
        }
    }
}

fn check_rows(batch: &RecordBatch, lists: &[usize]) -> Result<()> {
    let columns = batch.columns().iter().enumerate();
    let repeated = columns.filter(|(at, _)| !lists.contains(at)).map(|(_, column)| column);
    let all: f64 = repeated.clone().map(|column| bytes(column.as_ref())).sum();
    let longest = lists
        .iter()
        .map(|at| longest_list(batch.column(*at).as_ref()))
        .fold(0.0, f64::max);
    // A list longer than a batch is opened at once.
    let times = (longest / BATCH_ROWS).max(1.0);
    // A row is no wider than all of them.
    if all * times <= MAX_WIDTH {
        return Ok(());
    }
    let row: f64 = repeated.map(|column| widest(column.as_ref())).sum();
    check_width("a row", row * times)
}

#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    check: Check,
}

impl Guard {
    fn new(input: Arc<dyn ExecutionPlan>, check: Check) -> Self {
        Self { input, check }
    }
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &str {
        "Guard"
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
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.check.clone()))),
            _ => internal_err!("{} has one input", self.name()),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DFResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, KEEP)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DFResult<SendableRecordBatchStream> {
        let (input, check) = (self.input.execute(partition, context)?, self.check.clone());
        let schema = input.schema();
        let rows = input.map(move |batch| {
            let batch = batch?;
            check.batch(&batch)?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

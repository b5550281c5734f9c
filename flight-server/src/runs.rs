//! What one execution runs: a plan for each row of bound values.
//!
//! Where every value has just the type that the plan expects, the optimized plan of the statement is reused and only its
//! placeholders are filled in: optimizing is most of the cost of a small query.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;

use crate::engine::Planned;
use crate::error::{Error, Result};
use crate::parameters;
use crate::plan::{self, Parsed};

#[derive(Debug, Clone)]
pub struct Run {
    plan: LogicalPlan,
    optimized: bool,
}

impl Run {
    pub async fn physical(&self, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(if self.optimized {
            state.query_planner().create_physical_plan(&self.plan, state).await?
        } else {
            state.create_physical_plan(&self.plan).await?
        })
    }
}

/// The runs of `parsed` with the rows of `values`, one in all where it takes none, and the schema that they have.
pub fn runs(planned: &Planned, parsed: &Parsed, values: Option<&[u8]>) -> Result<(Vec<Run>, Schema)> {
    let rows = match (parsed.parameters, values) {
        (0, _) => vec![Vec::new()],
        (count, Some(values)) => parameters::rows(&parameters::decode(values)?, count)?,
        (count, None) => {
            return Err(Error::Parameter(format!(
                "the statement takes {count} values, none were bound"
            )));
        }
    };
    let runs = rows.iter().map(|row| run(planned, row)).collect::<Result<Vec<_>>>()?;
    match runs.first() {
        Some(Run { optimized: false, plan }) => {
            let schema = plan.schema().as_arrow().clone();
            Ok((runs, schema))
        }
        // Optimizing may change what a schema says of nullability; the statement's own is what was announced.
        Some(_) => Ok((runs, planned.plan.schema().as_arrow().clone())),
        None => Err(Error::Parameter("no row of values was bound".into())),
    }
}

fn run(planned: &Planned, row: &[ScalarValue]) -> Result<Run> {
    let values = parameters::fit(row, &planned.parameter_types)?;
    let as_expected = values
        .iter()
        .zip(&planned.parameter_types)
        .all(|(value, t)| t.as_ref() == Some(&value.data_type()));
    match &planned.optimized {
        Some(optimized) if values.is_empty() => Ok(Run {
            plan: optimized.clone(),
            optimized: true,
        }),
        Some(optimized) if as_expected => {
            let bound = plan::bind(optimized, values)?;
            // Arithmetic on values becomes a literal again, which is what files are pruned by.
            let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(SimplifyExpressions::new())];
            let plan = Optimizer::with_rules(rules).optimize(bound, &planned.state, |_, _| {})?;
            Ok(Run { plan, optimized: true })
        }
        _ => Ok(Run {
            plan: plan::bind(&planned.plan, values)?,
            optimized: false,
        }),
    }
}

/// The optimized form of `plan`, where it is the same at every execution and for all values.
pub fn optimized(state: &SessionState, plan: &LogicalPlan) -> Option<LogicalPlan> {
    if depends_on_execution(plan).unwrap_or(true) {
        None
    } else {
        state.optimize(plan).ok()
    }
}

/// `now()` and its like are folded into the plan, and so is a LIMIT, which must be known to sort by it.
fn depends_on_execution(plan: &LogicalPlan) -> Result<bool> {
    let mut depends = false;
    plan.apply_with_subqueries(|node| {
        let limit = matches!(node, LogicalPlan::Limit(_));
        let reads = matches!(
            node,
            LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::DescribeTable(_)
                | LogicalPlan::Statement(_)
        );
        depends |= reads;
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                depends |= match expr {
                    Expr::Placeholder(_) => limit,
                    Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
                    _ => false,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(depends)
}

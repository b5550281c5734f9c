//! What one execution runs: a plan for each row of bound values, made when its turn comes.
//!
//! Where every value has just the type that the plan expects, the optimized plan of the statement is reused and only its
//! placeholders are filled in: optimizing is most of the cost of a small query.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use tokio_util::sync::CancellationToken;

use crate::bind;
use crate::error::{Error, Result};
use crate::guard::guarded;
use crate::parameters;
use crate::planned::Planned;
use crate::values;
use crate::yielding::cancellable;

#[derive(Debug)]
struct Run {
    plan: LogicalPlan,
    optimized: bool,
}

impl Run {
    /// Optimizing may change what a schema says of nullability; the statement's own is what is announced.
    fn schema<'a>(&'a self, planned: &'a Planned) -> &'a Schema {
        let plan = if self.optimized { &planned.plan } else { &self.plan };
        plan.schema().as_arrow()
    }
}

/// The runs of a statement, one a row of values, one in all where it takes none.
#[derive(Debug)]
pub struct Runs {
    planned: Arc<Planned>,
    first: Option<Run>,
    /// Those after the first, in the types that the plan expects.
    rows: VecDeque<Vec<ScalarValue>>,
    /// Which row runs next.
    next: usize,
    /// What the first run was announced with; the others have no other types.
    schema: Schema,
    bounds: Option<(Arc<RuntimeEnv>, CancellationToken)>,
}

impl Runs {
    /// The runs of `planned` with the rows of `values`, and the schema that their one result has.
    pub fn new(planned: Arc<Planned>, values: Option<&[u8]>) -> Result<(Self, Schema)> {
        let rows = match (planned.parsed.parameters, values) {
            (0, _) => vec![Vec::new()],
            (count, Some(values)) => values::rows(&parameters::decode(values)?, count)?,
            (count, None) => {
                return Err(Error::Parameter(format!(
                    "the statement takes {count} values, none were bound"
                )));
            }
        };
        let mut rows = rows
            .iter()
            .map(|row| parameters::fit(row, &planned.parameter_types))
            .collect::<Result<VecDeque<_>>>()?;
        let Some(row) = rows.pop_front() else {
            return Err(Error::Parameter("no row of values was bound".into()));
        };
        let first = run(&planned, row)?;
        let schema = first.schema(&planned).clone();
        let first = Some(first);
        let runs = Self {
            planned,
            first,
            rows,
            next: 1,
            schema: schema.clone(),
            bounds: None,
        };
        Ok((runs, schema))
    }

    /// The same within the memory of `runtime`, until `cancel`.
    pub fn within(self, runtime: Arc<RuntimeEnv>, cancel: CancellationToken) -> Self {
        Self {
            bounds: Some((runtime, cancel)),
            ..self
        }
    }

    /// Starts the next one; None after the last.
    pub async fn start_next(&mut self) -> Result<Option<SendableRecordBatchStream>> {
        let run = match self.first.take() {
            Some(first) => first,
            None => match self.rows.pop_front() {
                Some(row) => run(&self.planned, row)?,
                None => return Ok(None),
            },
        };
        self.check_types(&run)?;
        self.next += 1;
        let state = &self.planned.state;
        let stream = if run.optimized {
            let plan = state.query_planner().create_physical_plan(&run.plan, state).await?;
            self.execute(plan, state)?
        } else {
            // `now()` is the time at which this run starts.
            let mut state = state.clone();
            state.mark_start_execution();
            self.execute(state.create_physical_plan(&run.plan).await?, &state)?
        };
        Ok(Some(stream))
    }

    /// A value that stands in the result for itself brings its type along; cast to that of the first row, it might be rounded.
    fn check_types(&self, run: &Run) -> Result<()> {
        let schema = run.schema(&self.planned);
        for (announced, field) in self.schema.fields().iter().zip(schema.fields()) {
            let (announced, own) = (announced.data_type(), field.data_type());
            if own != announced && !own.is_null() {
                return Err(Error::Parameter(format!(
                    "row {} of the values makes column {} a {own}, the first row made it a {announced}; write CAST($1 AS ...) around the \
                     parameter, or run the rows apart",
                    self.next,
                    field.name()
                )));
            }
        }
        Ok(())
    }

    fn execute(&self, plan: Arc<dyn ExecutionPlan>, state: &SessionState) -> Result<SendableRecordBatchStream> {
        let Some((runtime, cancel)) = &self.bounds else {
            return Ok(execute_stream(plan, state.task_ctx())?);
        };
        let context = TaskContext::from(state).with_runtime(runtime.clone());
        let plan = guarded(cancellable(plan, cancel)?, cancel)?;
        Ok(execute_stream(plan, Arc::new(context))?)
    }
}

fn run(planned: &Planned, values: Vec<ScalarValue>) -> Result<Run> {
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
            let bound = bind::values(optimized, values)?;
            // Arithmetic on values becomes a literal again, which is what files are pruned by.
            let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = vec![Arc::new(SimplifyExpressions::new())];
            let plan = Optimizer::with_rules(rules).optimize(bound, &planned.state, |_, _| {})?;
            Ok(Run { plan, optimized: true })
        }
        _ => Ok(Run {
            plan: bind::values(&planned.plan, values)?,
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

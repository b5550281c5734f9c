//! Pruning whole files by their bounds, and proving that a filter holds for every row of them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::file::{Bound, DataFile};

/// The files that may hold a row for which `filter` is true.
pub fn prune(files: &[Arc<DataFile>], filter: &Expr, schema: &SchemaRef) -> Result<Vec<Arc<DataFile>>> {
    let kept = may_hold(files, filter, schema)?;
    Ok(files
        .iter()
        .zip(kept)
        .filter(|(_, kept)| *kept)
        .map(|(file, _)| file.clone())
        .collect())
}

/// `filter` is true for every row of every file: nothing may make its opposite true. Columns that may be NULL prove nothing.
pub fn always_holds(files: &[Arc<DataFile>], filter: &Expr, schema: &SchemaRef) -> Result<bool> {
    let is_never_null = |column: &Column| {
        schema
            .field_with_name(&column.name)
            .is_ok_and(|field| !field.is_nullable())
    };
    let columns = filter.column_refs();
    if columns.is_empty() || !columns.into_iter().all(is_never_null) {
        return Ok(false);
    }
    Ok(may_hold(files, &Expr::Not(Box::new(filter.clone())), schema)?
        .into_iter()
        .all(|may| !may))
}

fn may_hold(files: &[Arc<DataFile>], filter: &Expr, schema: &SchemaRef) -> Result<Vec<bool>> {
    let df_schema = DFSchema::try_from(schema.clone())?;
    let simplified = simplify(unnormalize_col(filter.clone()), &df_schema)?;
    if simplified == datafusion::prelude::lit(false) {
        return Ok(vec![false; files.len()]);
    }
    let physical = create_physical_expr(
        &simplified,
        &df_schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )?;
    let predicate = PruningPredicateBuilder::new()
        .with_file_schema(schema.clone())
        .try_build(physical)?;
    if predicate.always_true() {
        return Ok(vec![true; files.len()]);
    }
    predicate.prune(&FileBounds(files))
}

/// Turns `NOT (kind = 'trade')` into what pruning understands.
fn simplify(filter: Expr, schema: &DFSchema) -> Result<Expr> {
    use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
    ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build()).simplify(filter)
}

struct FileBounds<'a>(&'a [Arc<DataFile>]);

impl FileBounds<'_> {
    fn column(&self, column: &Column, end: impl Fn(&super::file::Bounds) -> &Bound) -> Option<ArrayRef> {
        let known: Vec<Option<ScalarValue>> = self
            .0
            .iter()
            .map(|file| file.bounds(&column.name).map(|bounds| end(bounds).to_scalar()))
            .collect();
        let unknown = ScalarValue::try_from(&known.iter().flatten().next()?.data_type()).ok()?;
        ScalarValue::iter_to_array(known.into_iter().map(|value| value.unwrap_or_else(|| unknown.clone()))).ok()
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |bounds| &bounds.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, |bounds| &bounds.max)
    }

    fn num_containers(&self) -> usize {
        self.0.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.0.iter().map(|file| file.rows).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

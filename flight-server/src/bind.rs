//! What a plan expects of its placeholders, and putting values in their place.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::{Error, Result};
use crate::placeholders;

/// The type that the plan expects of each parameter; None where it cannot tell or uses ask for different ones.
pub fn types(plan: &LogicalPlan, count: usize) -> Result<Vec<Option<DataType>>> {
    let mut found: Vec<Vec<DataType>> = vec![Vec::new(); count];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            // The planner leaves these untyped; only a count makes sense.
            for n in [&limit.skip, &limit.fetch]
                .into_iter()
                .flatten()
                .filter_map(|e| untyped_position(e))
            {
                if let Some(types) = found.get_mut(n - 1) {
                    types.push(DataType::Int64);
                }
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Placeholder(placeholder) = expr
                    && let (Some(field), Ok(n)) = (&placeholder.field, placeholders::position(&placeholder.id))
                    && let Some(types) = found.get_mut(n - 1)
                    && !types.contains(field.data_type())
                {
                    types.push(field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found
        .into_iter()
        .map(|mut types| if types.len() == 1 { types.pop() } else { None })
        .collect())
}

fn untyped_position(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => placeholders::position(&placeholder.id).ok(),
        _ => None,
    }
}

/// `plan` with every placeholder of the type that one use of it tells: `SELECT $1 ... WHERE ts > $1` then announces the time that it returns.
pub fn typed(plan: LogicalPlan, types: &[Option<DataType>]) -> Result<LogicalPlan> {
    if types.iter().all(Option::is_none) {
        return Ok(plan);
    }
    let fields: Vec<Option<FieldRef>> = types
        .iter()
        .map(|known| Some(Arc::new(Field::new("", known.clone()?, true))))
        .collect();
    let typed = plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| expr.transform_up(|expr| Ok(typed_placeholder(expr, &fields))))?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

fn typed_placeholder(expr: Expr, fields: &[Option<FieldRef>]) -> Transformed<Expr> {
    let field = match &expr {
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => placeholders::position(&placeholder.id)
            .ok()
            .and_then(|n| fields.get(n - 1).cloned().flatten()),
        _ => None,
    };
    match (expr, field) {
        (Expr::Placeholder(placeholder), Some(field)) => Transformed::yes(Expr::Placeholder(
            Placeholder::new_with_field(placeholder.id, Some(field)),
        )),
        (expr, _) => Transformed::no(expr),
    }
}

/// `plan` with `values` in the place of its parameters.
pub fn values(plan: &LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan.clone());
    }
    plan.clone()
        .with_param_values(values)
        .map_err(|error| match Error::from(error) {
            Error::Plan(text) => Error::Parameter(text),
            other => other,
        })
}

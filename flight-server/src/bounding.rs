//! Puts the bounds into a plan: SQL's own forms (`[a, b]`, `{a: b}`, `a || b`, LIKE, `~`, CAST) do not go by the registry of functions.

use std::sync::Arc;

use datafusion::arrow::compute::kernels::concat_elements::concat_elements_dyn;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DFResult, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::{Share, bounded, check_type, within};
use crate::growing::OPERATOR;
use crate::patterns::{self, Kind, checked};

/// Runs after the types are known, and before constants are folded.
#[derive(Debug, Default)]
pub struct Bounding;

impl AnalyzerRule for Bounding {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DFResult<LogicalPlan> {
        let bounded = plan.transform_up_with_subqueries(|node| {
            let node = node.map_expressions(|expr| expr.transform_up(expression))?;
            match node.transformed {
                true => node.map_data(LogicalPlan::recompute_schema),
                false => Ok(node),
            }
        })?;
        Ok(bounded.data)
    }

    fn name(&self) -> &str {
        "bounding"
    }
}

fn expression(expr: Expr) -> DFResult<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarFunction(call) => function(call),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::StringConcat => {
                let joined = ScalarUDF::new_from_impl(Joined::default());
                Transformed::yes(joined.call(vec![*left, *right]))
            }
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                    left,
                    op,
                    Box::new(checked(Kind::Regex, *right)),
                )))
            }
            Operator::LikeMatch | Operator::ILikeMatch | Operator::NotLikeMatch | Operator::NotILikeMatch => {
                Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                    left,
                    op,
                    Box::new(checked(Kind::Like, *right)),
                )))
            }
            _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
        },
        Expr::Like(mut like) => {
            like.pattern = Box::new(checked(Kind::Like, *like.pattern));
            Transformed::yes(Expr::Like(like))
        }
        Expr::SimilarTo(mut like) => {
            like.pattern = Box::new(checked(Kind::Regex, *like.pattern));
            Transformed::yes(Expr::SimilarTo(like))
        }
        Expr::Cast(cast) => {
            check_type(cast.field.data_type())?;
            Transformed::no(Expr::Cast(cast))
        }
        Expr::TryCast(cast) => {
            check_type(cast.field.data_type())?;
            Transformed::no(Expr::TryCast(cast))
        }
        other => Transformed::no(other),
    })
}

fn function(mut call: ScalarFunction) -> Transformed<Expr> {
    let mut changed = false;
    if let Some((_, pattern, flags)) = patterns::FUNCTIONS.iter().find(|(name, ..)| *name == call.name()) {
        for (at, kind) in [(*pattern, Kind::Regex), (*flags, Kind::Flags)] {
            if let Some(arg) = call.args.get_mut(at) {
                *arg = checked(kind, std::mem::take(arg));
                changed = true;
            }
        }
    }
    if let Some(within_bounds) = bounded(&call.func) {
        call.func = within_bounds;
        changed = true;
    }
    match changed {
        true => Transformed::yes(Expr::ScalarFunction(call)),
        false => Transformed::no(Expr::ScalarFunction(call)),
    }
}

/// `a || b` of two texts of one type; named and shown so.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined(Signature);

impl Default for Joined {
    fn default() -> Self {
        Self(Signature::any(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        OPERATOR
    }

    fn display_name(&self, args: &[Expr]) -> DFResult<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> DFResult<String> {
        let names: Vec<_> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> DFResult<DataType> {
        match types {
            [left, right] if left == right => Ok(left.clone()),
            _ => exec_err!("{types:?} cannot be joined by ||"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DFResult<FieldRef> {
        let types: Vec<_> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DFResult<ColumnarValue> {
        let allowed = Share::allowed(&args.config_options);
        within(OPERATOR, &join, args, allowed)
    }
}

fn join(args: ScalarFunctionArgs) -> DFResult<ColumnarValue> {
    let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let [left, right] = ColumnarValue::values_to_arrays(&args.args)?
        .try_into()
        .or_else(|_| internal_err!("|| joins two"))?;
    let joined = concat_elements_dyn(&left, &right)?;
    match scalar {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?)),
        false => Ok(ColumnarValue::Array(joined)),
    }
}

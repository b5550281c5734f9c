//! Quotients of decimals that have room. DataFusion widens the dividend inside its 38 digits, so `sum(quote_volume) / sum(volume)` overflows
//! whatever the sums are; here the division happens in 76 digits and its result has 38 again: as many after the point as the dividend and four more, 18 at most
//! unless the dividend has more.

use datafusion::arrow::compute::cast_with_options;
use datafusion::arrow::compute::kernels::cast::CastOptions;
use datafusion::arrow::compute::kernels::numeric::div;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DECIMAL256_MAX_PRECISION, DataType,
};
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// What DataFusion adds to the dividend's scale.
const MORE_DIGITS: i8 = 4;
/// More digits after the point only where the dividend has them.
const MAX_SCALE: i8 = 18;

/// Plans `/` as [`Quotient`] where DataFusion's own could overflow on the way to a result that fits.
#[derive(Debug)]
pub struct WideQuotients;

impl ExprPlanner for WideQuotients {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::Divide {
            return Ok(PlannerResult::Original(expr));
        }
        // A parameter has no type yet.
        let (Ok(dividend), Ok(divisor)) = (expr.left.get_type(schema), expr.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(expr));
        };
        if !needs_room(&dividend, &divisor) {
            return Ok(PlannerResult::Original(expr));
        }
        let quotient = ScalarUDF::from(Quotient::default());
        Ok(PlannerResult::Planned(quotient.call(vec![expr.left, expr.right])))
    }
}

fn needs_room(dividend: &DataType, divisor: &DataType) -> bool {
    let (DataType::Decimal128(precision, scale), Some(divisor_scale)) = (dividend, divisor_scale(divisor)) else {
        return false;
    };
    let more = (scale.saturating_add(MORE_DIGITS).min(DECIMAL128_MAX_SCALE) - scale) + divisor_scale;
    i16::from(*precision) + i16::from(more) > i16::from(DECIMAL128_MAX_PRECISION)
}

fn divisor_scale(divisor: &DataType) -> Option<i8> {
    match divisor {
        DataType::Decimal128(_, scale) => Some(*scale),
        integer if integer.is_integer() => Some(0),
        _ => None,
    }
}

/// `dividend / divisor`; shown and named so.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Quotient(Signature);

impl Default for Quotient {
    fn default() -> Self {
        Self(Signature::any(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Quotient {
    fn name(&self) -> &str {
        "quotient"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<_> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(names.join(" / "))
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Decimal128(_, scale), _] => {
                let scale = scale.saturating_add(MORE_DIGITS).min(MAX_SCALE.max(*scale));
                Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale))
            }
            _ => plan_err!("{types:?} have no wide quotient"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let [dividend, divisor] = ColumnarValue::values_to_arrays(&args.args)?
            .try_into()
            .or_else(|_| internal_err!("a quotient is of two"))?;
        let widened = [dividend, divisor].map(|array| {
            let scale = match array.data_type() {
                DataType::Decimal128(_, scale) => *scale,
                _ => 0,
            };
            cast_with_options(&array, &DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale), &strict)
        });
        let [dividend, divisor] = widened;
        let quotient = div(&dividend?, &divisor?)?;
        let quotient = cast_with_options(&quotient, args.return_field.data_type(), &strict)?;
        match scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&quotient, 0)?)),
            false => Ok(ColumnarValue::Array(quotient)),
        }
    }
}

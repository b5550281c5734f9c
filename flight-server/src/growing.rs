//! Functions whose result is as long as a number in the statement says, such as `repeat('x', 2000000000)`: refused before they run where that is
//! more than a batch may have. No memory pool sees what a function allocates.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::Result as DFResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::{Error, Result};

const NAMES: [&str; 7] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "array_resize",
    "range",
    "generate_series",
];
/// What one call may make for one batch of rows.
const MAX_BYTES: f64 = (256 << 20) as f64;
/// Of a character, or of a list's item.
const ITEM_BYTES: f64 = 16.0;
const DAY_NS: f64 = 86_400e9;

/// Puts the bounded functions in the place of the engine's.
pub fn bound(state: &mut SessionState) -> Result<()> {
    for name in NAMES {
        let Some(inner) = state.scalar_functions().get(name).cloned() else {
            return Err(Error::Internal(format!("the engine has no function {name}")));
        };
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DFResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DFResult<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> DFResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DFResult<ColumnarValue> {
        let bytes = estimate(self.name(), &args)?;
        if bytes > MAX_BYTES {
            return Err(Error::Limit(format!(
                "{} would make {bytes:.0} bytes at once, {MAX_BYTES:.0} are allowed; ask for less",
                self.name()
            ))
            .into());
        }
        self.inner.invoke_with_args(args)
    }
}

fn estimate(name: &str, args: &ScalarFunctionArgs) -> DFResult<f64> {
    let arrays = args
        .args
        .iter()
        .map(|value| match value {
            ColumnarValue::Array(array) => Ok(array.clone()),
            ColumnarValue::Scalar(scalar) => scalar.to_array(),
        })
        .collect::<DFResult<Vec<ArrayRef>>>()?;
    let rows = arrays.iter().map(|array| array.len()).max().unwrap_or(1) as f64;
    let each = match (name, arrays.as_slice()) {
        ("repeat", [text, count, ..]) => longest(text) * greatest(count),
        ("lpad" | "rpad" | "array_resize", [_, count, ..]) => ITEM_BYTES * greatest(count),
        ("array_repeat", [item, count, ..]) => longest(item).max(ITEM_BYTES) * greatest(count),
        (_, [stop]) => ITEM_BYTES * greatest(stop).abs(),
        (_, [start, stop]) => ITEM_BYTES * between(start, stop),
        (_, [start, stop, step, ..]) => ITEM_BYTES * between(start, stop) / step_of(step),
        _ => 0.0,
    };
    Ok(rows * each.max(0.0))
}

/// Bytes of the longest text; 0 for what is none.
fn longest(texts: &ArrayRef) -> f64 {
    length(texts).map_or(0.0, |lengths| greatest(&lengths))
}

fn greatest(numbers: &ArrayRef) -> f64 {
    ends(numbers).map_or(0.0, |(_, greatest)| greatest)
}

/// The least and the greatest number, times in nanoseconds; None where all are NULL.
fn ends(numbers: &ArrayRef) -> Option<(f64, f64)> {
    let scale = match numbers.data_type() {
        DataType::Date32 => DAY_NS,
        DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1e6,
        DataType::Timestamp(TimeUnit::Second, _) => 1e9,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1e3,
        _ => 1.0,
    };
    // By way of its own integers: a time zone changes nothing.
    let plain = match numbers.data_type() {
        DataType::Date32 => cast(numbers, &DataType::Int32).ok()?,
        _ => numbers.clone(),
    };
    let plain = cast(&plain, &DataType::Int64).ok()?;
    let plain = plain.as_primitive::<Int64Type>();
    Some((min(plain)? as f64 * scale, max(plain)? as f64 * scale))
}

/// Steps of one from any start to any stop.
fn between(start: &ArrayRef, stop: &ArrayRef) -> f64 {
    match (ends(start), ends(stop)) {
        (Some((least_start, greatest_start)), Some((least_stop, greatest_stop))) => (greatest_stop - least_start)
            .abs()
            .max((least_stop - greatest_start).abs()),
        _ => 0.0,
    }
}

/// The shortest step. A month has 28 days at least.
fn step_of(steps: &ArrayRef) -> f64 {
    let shortest = match steps.as_primitive_opt::<IntervalMonthDayNanoType>() {
        Some(intervals) => intervals
            .iter()
            .flatten()
            .map(|i| (f64::from(i.months) * 28.0 * DAY_NS + f64::from(i.days) * DAY_NS + i.nanoseconds as f64).abs())
            .fold(f64::INFINITY, f64::min),
        None => ends(steps).map_or(1.0, |(least, greatest)| least.abs().min(greatest.abs())),
    };
    // A step of nothing is the function's own error.
    if shortest > 0.0 { shortest } else { f64::INFINITY }
}

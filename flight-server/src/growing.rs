//! How much a function would make of what it is given, estimated before it runs: `repeat('x', 2000000000)` and
//! `replace(a, 'x', b)` turn a few bytes into as many as the statement likes.
//!
//! An estimate is never less than what is made; it may be more.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use datafusion::arrow::compute::{cast, max, min};
use datafusion::arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::Result as DFResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

/// What may make more than a few times its arguments, by itself or nested in its like.
pub const GROWING: [&str; 28] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "array_resize",
    "range",
    "generate_series",
    "replace",
    "regexp_replace",
    "overlay",
    "concat",
    "concat_ws",
    "encode",
    "to_char",
    "make_array",
    "array_append",
    "array_prepend",
    "array_concat",
    "array_union",
    "array_to_string",
    "array_replace",
    "array_replace_n",
    "array_replace_all",
    "arrays_zip",
    "map",
    "struct",
    "named_struct",
    "regexp_match",
];
/// `||`, as [`crate::bounding`] plans it.
pub const OPERATOR: &str = "concat_operator";
/// Of a character, or of a list's item.
const ITEM_BYTES: f64 = 16.0;
/// A number as text, and a part of a time.
const NUMBER_BYTES: f64 = 40.0;
const DAY_NS: f64 = 86_400e9;

/// An argument: a value a row, or one for all.
pub struct Arg {
    pub array: ArrayRef,
    times: f64,
}

impl Arg {
    pub fn all(args: &ScalarFunctionArgs) -> DFResult<Vec<Self>> {
        let of = |value: &ColumnarValue| match value {
            ColumnarValue::Array(array) => Ok(Self {
                array: array.clone(),
                times: 1.0,
            }),
            ColumnarValue::Scalar(scalar) => Ok(Self {
                array: scalar.to_array()?,
                times: args.number_rows as f64,
            }),
        };
        args.args.iter().map(of).collect()
    }

    /// Bytes of its values, one a row.
    fn total(&self) -> f64 {
        bytes(self.array.as_ref()) * self.times
    }

    fn items(&self) -> f64 {
        items(self.array.as_ref()) * self.times
    }

    fn widest(&self) -> f64 {
        widest(self.array.as_ref())
    }
}

/// Bytes that the function makes for all rows of `args`.
pub fn estimate(name: &str, args: &ScalarFunctionArgs) -> DFResult<f64> {
    if !GROWING.contains(&name) && name != OPERATOR {
        return Ok(0.0);
    }
    let rows = args.number_rows as f64;
    let args = Arg::all(args)?;
    let sum = || args.iter().map(Arg::total).sum::<f64>();
    Ok(match (name, args.as_slice()) {
        ("repeat", [text, count, ..]) => rows * text.widest() * greatest(&count.array).max(0.0),
        ("lpad" | "rpad", [_, count, ..]) => rows * ITEM_BYTES * greatest(&count.array).max(0.0),
        ("array_resize", [_, count, rest @ ..]) => {
            let item = rest.first().map_or(0.0, Arg::widest).max(ITEM_BYTES);
            rows * item * greatest(&count.array).max(0.0)
        }
        ("array_repeat", [item, count, ..]) => rows * item.widest().max(ITEM_BYTES) * greatest(&count.array).max(0.0),
        ("range" | "generate_series", [stop]) => rows * ITEM_BYTES * greatest(&stop.array).abs(),
        ("range" | "generate_series", [start, stop]) => rows * ITEM_BYTES * between(&start.array, &stop.array),
        ("range" | "generate_series", [start, stop, step, ..]) => {
            rows * ITEM_BYTES * between(&start.array, &stop.array) / step_of(&step.array)
        }
        ("replace", [text, from, to]) => text.total() + replacements(text, from, rows) * to.widest(),
        ("regexp_replace", [text, _, to, rest @ ..]) => {
            // Groups of all matches are no longer than the text.
            let groups = mentions(&to.array, ['\\', '$']);
            let matches = match rest.first() {
                Some(flags) if mentions(&flags.array, ['g', 'g']) > 0.0 => text.total() + rows,
                _ => rows,
            };
            text.total() * (1.0 + groups) + matches * to.widest()
        }
        ("concat_ws", [separator, rest @ ..]) => sum() + separator.total() * rest.len() as f64,
        ("encode", [value, ..]) => 2.0 * value.total(),
        ("to_char", [_, format, ..]) => rows * NUMBER_BYTES + NUMBER_BYTES * format.total(),
        ("array_to_string", [list, between, rest @ ..]) => {
            let null = rest.first().map_or(0.0, Arg::widest);
            list.total() + list.items() * (NUMBER_BYTES + between.widest() + null)
        }
        ("array_replace" | "array_replace_n" | "array_replace_all", [list, _, to, ..]) => {
            list.total() + list.items() * to.widest()
        }
        ("arrays_zip", lists) => {
            let longest = lists
                .iter()
                .map(|list| longest_list(list.array.as_ref()))
                .fold(0.0, f64::max);
            sum() + rows * longest * ITEM_BYTES * lists.len() as f64
        }
        // Groups may lie in one another.
        ("regexp_match", [text, pattern, ..]) => {
            text.total() * (1.0 + mentions(&pattern.array, ['(', '('])) + rows * ITEM_BYTES
        }
        _ => sum() + rows * ITEM_BYTES,
    })
}

/// How often at most; counted where one row is left.
fn replacements(text: &Arg, from: &Arg, rows: f64) -> f64 {
    if rows == 1.0
        && let (Some(text), Some(from)) = (first_text(&text.array), first_text(&from.array))
    {
        return text.matches(from.as_str()).count() as f64;
    }
    let shortest = lengths(from.array.as_ref()).into_iter().fold(f64::INFINITY, f64::min);
    text.total() / shortest.max(1.0) + rows
}

fn first_text(array: &ArrayRef) -> Option<String> {
    let text = cast(&array.slice(0, array.len().min(1)), &DataType::Utf8).ok()?;
    let text = text.as_string::<i32>();
    (text.len() == 1 && text.is_valid(0)).then(|| text.value(0).to_owned())
}

/// How often any text has one of `chars`, at most.
fn mentions(texts: &ArrayRef, chars: [char; 2]) -> f64 {
    let Ok(texts) = cast(texts, &DataType::Utf8) else {
        return 0.0;
    };
    let texts = texts.as_string::<i32>();
    let most = texts.iter().flatten().map(|text| text.matches(chars).count()).max();
    most.unwrap_or(0) as f64
}

/// Bytes that the values take, as if they were copied.
pub fn bytes(array: &dyn Array) -> f64 {
    fn text<O: OffsetSizeTrait>(offsets: &[O]) -> f64 {
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => last.as_usize() as f64 - first.as_usize() as f64,
            _ => 0.0,
        }
    }
    let rows = array.len() as f64;
    match array.data_type() {
        DataType::Utf8 => text(array.as_string::<i32>().offsets()) + 4.0 * rows,
        DataType::LargeUtf8 => text(array.as_string::<i64>().offsets()) + 8.0 * rows,
        DataType::Binary => text(array.as_binary::<i32>().offsets()) + 4.0 * rows,
        DataType::LargeBinary => text(array.as_binary::<i64>().offsets()) + 8.0 * rows,
        DataType::Utf8View | DataType::BinaryView => lengths(array).into_iter().sum::<f64>() + ITEM_BYTES * rows,
        DataType::List(_) => inside(array.as_list::<i32>().offsets(), array.as_list::<i32>().values()) + 4.0 * rows,
        DataType::LargeList(_) => {
            inside(array.as_list::<i64>().offsets(), array.as_list::<i64>().values()) + 8.0 * rows
        }
        DataType::Map(..) => {
            let map = array.as_map();
            inside(map.offsets(), &(std::sync::Arc::new(map.entries().clone()) as ArrayRef)) + 4.0 * rows
        }
        DataType::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list();
            bytes(list.values()).max(f64::from(*size) * rows)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|c| bytes(c.as_ref())).sum(),
        DataType::Dictionary(..) => {
            let values = array.as_any_dictionary().values();
            rows * widest(values.as_ref())
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or(0) as f64,
    }
}

fn inside<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef) -> f64 {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => {
            let (first, last) = (first.as_usize(), last.as_usize());
            bytes(values.slice(first, last - first).as_ref())
        }
        _ => 0.0,
    }
}

/// Values at the leaves of lists.
fn items(array: &dyn Array) -> f64 {
    match array.data_type() {
        DataType::List(_) => items(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => items(array.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().values().as_ref()),
        _ => array.len() as f64,
    }
}

/// Items of the longest list.
pub fn longest_list(array: &dyn Array) -> f64 {
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) => lengths(array).into_iter().fold(0.0, f64::max),
        DataType::FixedSizeList(_, size) => f64::from(*size),
        _ => 1.0,
    }
}

/// Bytes of a text, items of a list; nothing for others.
pub fn lengths(array: &dyn Array) -> Vec<f64> {
    use datafusion::arrow::compute::kernels::length::length;
    let Ok(lengths) = length(array) else { return Vec::new() };
    let Ok(lengths) = cast(&lengths, &DataType::Int64) else {
        return Vec::new();
    };
    let lengths = lengths.as_primitive::<Int64Type>();
    lengths.iter().map(|length| length.unwrap_or(0) as f64).collect()
}

/// Bytes of the widest value.
pub fn widest(array: &dyn Array) -> f64 {
    let longest = || lengths(array).into_iter().fold(0.0, f64::max);
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => longest(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => longest(),
        DataType::List(_) => longest() * widest(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => longest() * widest(array.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(_, size) => f64::from(*size) * widest(array.as_fixed_size_list().values().as_ref()),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|c| widest(c.as_ref())).sum(),
        DataType::Dictionary(..) => widest(array.as_any_dictionary().values().as_ref()),
        DataType::Map(..) => bytes(array),
        DataType::FixedSizeBinary(size) => f64::from(*size),
        _ => ITEM_BYTES,
    }
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

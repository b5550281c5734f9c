//! Mapped columns -> rows of bronze.trades: types, defaults, and the checks that a record on the topic has to pass as well.
//!
//! Decimals travel as text and must read as numbers; whether they fit is silver's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use ticklake_sql::decimal;

use super::bad_line::{BadLine, Class};
use super::raw::RawRows;
use crate::error::Step;
use crate::{Error, Result};

/// Names stand in file statistics; no venue needs more.
const MAX_NAME_BYTES: usize = 256;
/// Microseconds of 0001-01-01 and of the end of 9999: what every reader of a timestamp column can show.
const TIMESTAMPS_US: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const KINDS: [&str; 4] = ["trade", "agg", "cancel", "correct"];
const SIDES: [&str; 2] = ["buy", "sell"];
const SOURCES: [&str; 5] = ["live", "repair", "replay", "sim", "import"];

/// What a mapping has to give.
const REQUIRED: [&str; 5] = ["venue", "symbol", "price", "qty", "ts"];
/// What backfill itself gives, whatever the mapping says.
const OWN: [&str; 7] = [
    "origin",
    "topic",
    "partition",
    "offset",
    "record_ts",
    "payload",
    "ingested_at",
];
/// Columns that must not have been a float on the way.
const EXACT: [&str; 2] = ["price", "qty"];

/// Which mapped column is which column of bronze.
#[derive(Debug)]
pub struct Target {
    /// Schema of the decoded columns.
    schema: SchemaRef,
    /// Of each decoded column of bronze in the table's order: where the mapping has it.
    sources: Vec<Option<usize>>,
}

impl Target {
    /// `mapped`: what the mapping gives; `bronze`: file schema of bronze.trades.
    pub fn of(name: &str, mapped: &Schema, bronze: &SchemaRef) -> Result<Self> {
        let invalid = |why: String| Err(Error::Invalid(format!("mapping {name}: {why}")));
        let decoded: Vec<_> = bronze
            .fields()
            .iter()
            .filter(|f| !OWN.contains(&f.name().as_str()))
            .cloned()
            .collect();
        if let Some(stranger) = mapped
            .fields()
            .iter()
            .find(|f| !decoded.iter().any(|d| d.name() == f.name()))
        {
            let names: Vec<&str> = decoded.iter().map(|field| field.name().as_str()).collect();
            return invalid(format!(
                "it gives `{}`, which is no column: name it as one of {}",
                stranger.name(),
                names.join(", ")
            ));
        }
        for required in REQUIRED {
            if mapped.field_with_name(required).is_err() {
                return invalid(format!("it gives no `{required}`: add an expression AS {required}"));
            }
        }
        for exact in EXACT {
            let data_type = mapped.field_with_name(exact).map(|field| field.data_type());
            if data_type.is_ok_and(DataType::is_floating) {
                return invalid(format!(
                    "`{exact}` is a float, which is not exact: give it as text or DECIMAL"
                ));
            }
        }
        let sources = decoded.iter().map(|field| mapped.index_of(field.name()).ok()).collect();
        Ok(Self {
            schema: nullable(decoded.iter()),
            sources,
        })
    }

    /// The decoded columns in bronze's types; those that the mapping lacks are NULL. An error is about some value.
    pub fn convert(&self, mapped: &RecordBatch) -> Result<RecordBatch, String> {
        let rows = mapped.num_rows();
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(&self.sources)
            .map(|(field, source)| match source {
                None => Ok(default(field.name(), field.data_type(), rows)),
                Some(index) => converted(mapped.column(*index), field.data_type())
                    .map_err(|error| format!("`{}`: {error}", field.name())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| error.to_string())
    }
}

/// A row may lack what its column must have until the bad ones are taken out.
fn nullable<'a>(fields: impl Iterator<Item = &'a FieldRef>) -> SchemaRef {
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn default(name: &str, data_type: &DataType, rows: usize) -> ArrayRef {
    let text = |value: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows)));
    match name {
        "kind" => text("trade"),
        "source" => text("import"),
        "count" => Arc::new(Int64Array::from_value(1, rows)),
        _ => new_null_array(data_type, rows),
    }
}

fn converted(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == wanted {
        return Ok(column.clone());
    }
    if column.null_count() == column.len() {
        return Ok(new_null_array(wanted, column.len()));
    }
    let exact = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, wanted, &exact).map_err(|error| error.to_string())
}

/// Where the rows of a file come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `file:<sha256>`
    pub topic: String,
    /// What trades without an id are named after.
    pub connection: String,
}

/// Rows of `bronze`, the file schema of bronze.trades, from decoded columns and the raw rows they came from; bad rows are left out and named.
pub fn bronze_rows(
    decoded: &RecordBatch,
    raw: &RawRows,
    origin: &Origin,
    now_us: i64,
    bronze: &SchemaRef,
    bad: &mut Vec<BadLine>,
) -> Result<RecordBatch> {
    let rows = decoded.num_rows();
    let mut own = BTreeMap::new();
    own.insert("trade_id", trade_ids(decoded, raw, origin)?);
    own.insert("seq", or(decoded, "seq", &(Arc::new(raw.lines.clone()) as ArrayRef))?);
    own.insert("received_at", or(decoded, "received_at", column(decoded, "ts")?)?);
    let decoded = replaced(decoded, &own)?;
    let faults = faults(&decoded)?;

    let text = |value: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))) as ArrayRef;
    let columns = bronze
        .fields()
        .iter()
        .map(|field| {
            Ok(match field.name().as_str() {
                "origin" => text("file"),
                "topic" => text(&origin.topic),
                "partition" => Arc::new(Int32Array::from_value(0, rows)),
                "offset" => Arc::new(raw.lines.clone()),
                "record_ts" => new_null_array(field.data_type(), rows),
                "payload" => Arc::new(raw.payload.clone()),
                "ingested_at" => Arc::new(TimestampMicrosecondArray::from_value(now_us, rows).with_timezone("UTC")),
                name => column(&decoded, name)?.clone(),
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let batch = RecordBatch::try_new(nullable(bronze.fields().iter()), columns)
        .step("put rows into the columns of bronze.trades")?;
    let batch = if faults.is_empty() {
        batch
    } else {
        let good: BooleanArray = (0..rows).map(|row| Some(!faults.contains_key(&row))).collect();
        filter_record_batch(&batch, &good).step("leave bad rows out")?
    };
    for (row, (class, message)) in faults {
        bad.push(BadLine::new(
            raw.lines.value(row),
            class,
            message,
            raw.payload.value(row),
        ));
    }
    RecordBatch::try_new(bronze.clone(), batch.columns().to_vec()).step("put rows into the columns of bronze.trades")
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::Internal(format!("column {name} is missing")))
}

/// The column, with `other` where it is NULL.
fn or(batch: &RecordBatch, name: &str, other: &ArrayRef) -> Result<ArrayRef> {
    let column = column(batch, name)?;
    if column.null_count() == 0 {
        return Ok(column.clone());
    }
    if column.null_count() == column.len() {
        return Ok(other.clone());
    }
    let known = arrow::compute::is_not_null(column).step("find what is missing")?;
    zip(&known, column, other).step("fill in what is missing")
}

/// `<connection>-<line>-0` where the mapping gives none.
fn trade_ids(decoded: &RecordBatch, raw: &RawRows, origin: &Origin) -> Result<ArrayRef> {
    if column(decoded, "trade_id")?.null_count() == 0 {
        return or(decoded, "trade_id", column(decoded, "trade_id")?);
    }
    let named = raw
        .lines
        .values()
        .iter()
        .map(|line| format!("{}-{line}-0", origin.connection));
    or(
        decoded,
        "trade_id",
        &(Arc::new(StringArray::from_iter_values(named)) as ArrayRef),
    )
}

fn replaced(batch: &RecordBatch, columns: &BTreeMap<&str, ArrayRef>) -> Result<RecordBatch> {
    let schema = batch.schema();
    let all = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| columns.get(field.name().as_str()).unwrap_or(column).clone())
        .collect();
    RecordBatch::try_new(schema.clone(), all).step("fill in what a mapping leaves out")
}

type Faults = BTreeMap<usize, (Class, String)>;

/// The first fault of each bad row, in the order of the checks.
fn faults(decoded: &RecordBatch) -> Result<Faults> {
    let mut faults = Faults::new();
    for name in ["venue", "symbol", "trade_id"] {
        let is_name = |text: &str| !text.is_empty() && text.len() <= MAX_NAME_BYTES;
        check_text(
            decoded,
            name,
            true,
            "1 to 256 bytes",
            is_name,
            Class::BadValue,
            &mut faults,
        )?;
    }
    for name in EXACT {
        check_text(
            decoded,
            name,
            true,
            "a decimal number",
            decimal::is_number,
            Class::BadNumber,
            &mut faults,
        )?;
    }
    for (name, known, required) in [
        ("kind", KINDS.as_slice(), true),
        ("side", SIDES.as_slice(), false),
        ("source", SOURCES.as_slice(), true),
    ] {
        let one_of = known.join(", ");
        check_text(
            decoded,
            name,
            required,
            &one_of,
            |text| known.contains(&text),
            Class::BadValue,
            &mut faults,
        )?;
    }
    for name in ["ts", "received_at"] {
        let values = column(decoded, name)?.as_primitive::<TimestampMicrosecondType>();
        check(
            values,
            name,
            |us| TIMESTAMPS_US.contains(&us),
            "microseconds within the years 1 to 9999",
            &mut faults,
        );
    }
    check(
        column(decoded, "seq")?.as_primitive::<Int64Type>(),
        "seq",
        |_| true,
        "an integer",
        &mut faults,
    );
    check(
        column(decoded, "count")?.as_primitive::<Int64Type>(),
        "count",
        |count| count >= 1,
        "1 or more",
        &mut faults,
    );
    Ok(faults)
}

fn check_text(
    decoded: &RecordBatch,
    name: &str,
    required: bool,
    wanted: &str,
    fits: impl Fn(&str) -> bool,
    class: Class,
    faults: &mut Faults,
) -> Result<()> {
    let values = column(decoded, name)?.as_string::<i32>();
    for (row, value) in values.iter().enumerate() {
        match value {
            Some(value) if fits(value) => {}
            None if !required => {}
            Some(value) => {
                let message = format!("`{name}` is `{}`; it must be {wanted}", shown(value));
                faults.entry(row).or_insert((class, message));
            }
            None => missing(name, row, faults),
        }
    }
    Ok(())
}

fn check<T: arrow::datatypes::ArrowPrimitiveType<Native = i64>>(
    values: &arrow::array::PrimitiveArray<T>,
    name: &str,
    fits: impl Fn(i64) -> bool,
    wanted: &str,
    faults: &mut Faults,
) {
    if values.null_count() == 0 && values.values().iter().all(|value| fits(*value)) {
        return;
    }
    for (row, value) in values.iter().enumerate() {
        match value {
            Some(value) if fits(value) => {}
            Some(value) => {
                let message = format!("`{name}` is {value}; it must be {wanted}");
                faults.entry(row).or_insert((Class::BadValue, message));
            }
            None => missing(name, row, faults),
        }
    }
}

fn missing(name: &str, row: usize, faults: &mut Faults) {
    let message = match name {
        "venue" => "`venue` is missing: give --venue".to_owned(),
        "symbol" => "`symbol` is missing, or its pair is in no shipped list: give --symbol BASE-QUOTE".to_owned(),
        _ => format!("`{name}` is missing"),
    };
    faults.entry(row).or_insert((Class::MissingField, message));
}

/// At most 40 characters of something that came from outside.
fn shown(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

//! Rows on their way: bronze columns into silver's, broken and conflicting ones into quarantine's, quarantine's back for comparison.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, StringArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use ticklake_sql::decimal;

use super::columns::{decimals, micros, strings};
use super::rules::{Broken, Judged, PRICE, QTY, QUOTE_QTY, Rule, plain};
use crate::error::Step;
use crate::{Error, Result};

/// What silver and quarantine need of bronze: everything but the payload and the record's own time.
pub const BRONZE_COLUMNS: [&str; 21] = [
    "venue",
    "symbol",
    "kind",
    "trade_id",
    "seq",
    "ts",
    "price",
    "qty",
    "side",
    "received_at",
    "source",
    "conditions",
    "ref_trade_id",
    "count",
    "first_id",
    "last_id",
    "origin",
    "topic",
    "partition",
    "offset",
    "ingested_at",
];

const DAY_US: i64 = 86_400_000_000;

/// The valid rows in `schema`, silver's file columns.
pub fn valid(bronze: &RecordBatch, judged: &Judged, schema: &SchemaRef) -> Result<RecordBatch> {
    let decimal = |values: &[i128], (precision, scale): (u8, u8)| -> Result<ArrayRef> {
        let scale = i8::try_from(scale).unwrap_or(i8::MAX);
        let array =
            Decimal128Array::from_iter_values(values.iter().copied()).with_precision_and_scale(precision, scale);
        Ok(Arc::new(array.step("build a decimal column")?))
    };
    let trades = with_columns(
        bronze,
        schema,
        &[
            ("price", decimal(&judged.price, PRICE)?),
            ("qty", decimal(&judged.qty, QTY)?),
            ("quote_qty", decimal(&judged.quote_qty, QUOTE_QTY)?),
        ],
    )?;
    if judged.broken.is_empty() {
        return Ok(trades);
    }
    let mut valid = vec![true; bronze.num_rows()];
    for broken in &judged.broken {
        valid[broken.row as usize] = false;
    }
    filter_record_batch(&trades, &BooleanArray::from(valid)).step("leave broken rows out")
}

/// The broken rows in `schema`, quarantine's file columns, text unchanged.
pub fn broken(bronze: &RecordBatch, broken: &[Broken], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = UInt32Array::from_iter_values(broken.iter().map(|broken| broken.row));
    let rows = take_record_batch(bronze, &rows).step("pick broken rows")?;
    with_columns(
        &rows,
        schema,
        &[
            (
                "rule",
                Arc::new(StringArray::from_iter_values(
                    broken.iter().map(|broken| broken.rule.name()),
                )),
            ),
            (
                "detail",
                Arc::new(StringArray::from_iter_values(
                    broken.iter().map(|broken| broken.detail.as_str()),
                )),
            ),
        ],
    )
}

/// Conflicting repeats, rows of `trades`, in `schema`, quarantine's file columns. Price and qty as shortest exact text, whatever the venue
/// wrote: the row may come from silver, and must look the same if it did not.
pub fn conflicting(trades: &RecordBatch, set_aside: &[(u32, String)], schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = UInt32Array::from_iter_values(set_aside.iter().map(|(row, _)| *row));
    let rows = take_record_batch(trades, &rows).step("pick conflicting rows")?;
    let text = |column: &str, scale: u8| -> Result<ArrayRef> {
        let values = decimals(&rows, column)?;
        Ok(Arc::new(StringArray::from_iter_values(
            values.values().iter().map(|value| plain(*value, scale)),
        )))
    };
    with_columns(
        &rows,
        schema,
        &[
            (
                "rule",
                Arc::new(StringArray::from_iter_values(
                    set_aside.iter().map(|_| Rule::ConflictingRepeat.name()),
                )),
            ),
            (
                "detail",
                Arc::new(StringArray::from_iter_values(
                    set_aside.iter().map(|(_, detail)| detail.as_str()),
                )),
            ),
            ("price", text("price", PRICE.1)?),
            ("qty", text("qty", QTY.1)?),
        ],
    )
}

/// Conflicting repeats of quarantine as the trades they were, in `schema`, silver's file columns.
pub fn as_trades(quarantine: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let (price, qty) = (strings(quarantine, "price")?, strings(quarantine, "qty")?);
    let mut judged = Judged::default();
    for row in 0..quarantine.num_rows() {
        let price = decimal::parse(price.value(row), PRICE.0, PRICE.1);
        let qty = decimal::parse(qty.value(row), QTY.0, QTY.1);
        let (Ok(price), Ok(qty)) = (price, qty) else {
            return Err(Error::Internal(
                "a conflicting repeat in quarantine holds no exact decimals".into(),
            ));
        };
        judged.price.push(price);
        judged.qty.push(qty);
        judged.quote_qty.push(price.saturating_mul(qty));
    }
    valid(quarantine, &judged, schema)
}

/// UTC date of a timestamp column, as days since the epoch.
pub fn dates(rows: &RecordBatch, column: &str) -> Result<Date32Array> {
    let ts = micros(rows, column)?;
    Ok(Date32Array::from_iter_values(
        ts.values()
            .iter()
            .map(|us| i32::try_from(us.div_euclid(DAY_US)).unwrap_or(i32::MAX)),
    ))
}

/// The columns of `schema`: the given ones, and the others from `rows` by name.
fn with_columns(rows: &RecordBatch, schema: &SchemaRef, given: &[(&str, ArrayRef)]) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = given
                .iter()
                .find(|(name, _)| name == field.name())
                .map(|(_, column)| column)
                .or_else(|| rows.column_by_name(field.name()));
            match column {
                Some(column) if same_layout(column.data_type(), field.data_type()) => Ok(Arc::clone(column)),
                Some(column) => {
                    arrow::compute::cast(column, field.data_type()).step("bring a column into its table's type")
                }
                None => Err(Error::Internal(format!("column {} has no source", field.name()))),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).step("bring rows into a table's columns")
}

fn same_layout(one: &DataType, other: &DataType) -> bool {
    one == other
}

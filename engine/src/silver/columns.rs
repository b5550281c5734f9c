//! Typed access to the columns of a batch by name. A missing or wrongly typed column is an error of ours, never of the data.

use arrow::array::{Array, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;

use crate::{Error, Result};

pub fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    typed(batch, name)
}

pub fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    typed(batch, name)
}

pub fn ints<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int32Array> {
    typed(batch, name)
}

pub fn micros<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a TimestampMicrosecondArray> {
    typed(batch, name)
}

pub fn decimals<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Decimal128Array> {
    typed(batch, name)
}

/// The value, or `None` where it is NULL.
pub fn text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// The value, or `None` where it is NULL.
pub fn long(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

fn typed<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| Error::Internal(format!("column {name} is not in the batch")))?;
    column
        .as_any()
        .downcast_ref::<T>()
        .ok_or_else(|| Error::Internal(format!("column {name} has type {} in the batch", column.data_type())))
}

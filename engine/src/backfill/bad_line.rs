//! A line that cannot be loaded, and the dead letters that such lines become.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::error::Step;

/// How much of a payload bronze.dead_letters keeps; of a longer one also its length and its digest.
pub const KEPT_BYTES: usize = 64 << 10;

/// Why, as `bronze.dead_letters.error_class` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// More or fewer columns than the file has.
    ColumnCount,
    /// The container ends or contradicts itself here.
    DamagedFile,
    NotUtf8,
    NotJson,
    MissingField,
    BadNumber,
    BadValue,
    TooLarge,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ColumnCount => "column_count",
            Self::DamagedFile => "damaged_file",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::MissingField => "missing_field",
            Self::BadNumber => "bad_number",
            Self::BadValue => "bad_value",
            Self::TooLarge => "too_large",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: i64,
    pub class: Class,
    pub message: String,
    /// At most [`KEPT_BYTES`] of it.
    pub payload: Vec<u8>,
    /// Of the whole.
    pub payload_bytes: u64,
    /// Of the whole, where it is longer than what is kept.
    pub payload_sha256: Option<String>,
}

impl BadLine {
    pub fn new(line: i64, class: Class, message: impl Into<String>, payload: &[u8]) -> Self {
        let kept = payload.len().min(KEPT_BYTES);
        Self {
            line,
            class,
            message: message.into(),
            payload: payload[..kept].to_vec(),
            payload_bytes: payload.len() as u64,
            payload_sha256: (kept < payload.len()).then(|| format!("{:x}", Sha256::digest(payload))),
        }
    }
}

/// Rows of `schema`, the file schema of bronze.dead_letters.
pub fn dead_letters(bad: &[BadLine], topic: &str, now_us: i64, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = bad.len();
    let bytes = |line: &BadLine| i64::try_from(line.payload_bytes).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n("file", rows))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, rows))),
        Arc::new(Int32Array::from_value(0, rows)),
        Arc::new(Int64Array::from_iter_values(bad.iter().map(|line| line.line))),
        Arc::new(TimestampMicrosecondArray::new_null(rows).with_timezone("UTC")),
        new_null_array(&DataType::Binary, rows),
        Arc::new(BinaryArray::from_iter_values(
            bad.iter().map(|line| line.payload.as_slice()),
        )),
        Arc::new(Int64Array::from_iter_values(bad.iter().map(bytes))),
        Arc::new(
            bad.iter()
                .map(|line| line.payload_sha256.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(StringArray::from_iter_values(
            bad.iter().map(|line| line.class.as_str()),
        )),
        Arc::new(StringArray::from_iter_values(
            bad.iter().map(|line| line.message.as_str()),
        )),
        Arc::new(TimestampMicrosecondArray::from_value(now_us, rows).with_timezone("UTC")),
    ];
    RecordBatch::try_new(schema.clone(), columns).step("put bad lines into the columns of bronze.dead_letters")
}

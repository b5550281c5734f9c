//! Rows of a Parquet file in pieces: columns in their own types, the number of the row as its line, the row as JSON as its payload.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatchOptions, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow::record_batch::RecordBatch;
use memchr::memchr_iter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::raw::{BATCH_ROWS, LINE, RawRows};
use crate::error::Step;
use crate::{Error, Result};

/// A Parquet file that is being read from front to back.
pub struct ParquetRows {
    pub schema: SchemaRef,
    pub total_rows: u64,
    batches: ParquetRecordBatchReader,
}

impl ParquetRows {
    pub fn open(file: File) -> Result<Self, ParquetError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH_ROWS);
        Ok(Self {
            schema: builder.schema().clone(),
            total_rows: u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0),
            batches: builder.build()?,
        })
    }

    /// The next batch; an error is damage, and the end.
    pub fn next(&mut self) -> Option<Result<RecordBatch, String>> {
        Some(self.batches.next()?.map_err(|error| error.to_string()))
    }
}

/// The columns of `schema` of a batch whose first row has the number `first_line`.
pub fn raw(batch: &RecordBatch, first_line: i64, schema: &SchemaRef) -> Result<RawRows> {
    let rows = batch.num_rows();
    let lines = Int64Array::from_iter_values(first_line..first_line + rows as i64);
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            _ if field.name() == LINE => Arc::new(lines.clone()) as ArrayRef,
            Some(column) => column.clone(),
            None => new_null_array(field.data_type(), rows),
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RawRows {
        columns: RecordBatch::try_new_with_options(schema.clone(), columns, &options).step("build raw columns")?,
        payload: json(batch)?,
        lines,
    })
}

/// Each row as a JSON object.
fn json(batch: &RecordBatch) -> Result<BinaryArray> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch).step("write rows as JSON")?;
    writer.finish().step("write rows as JSON")?;
    let text = writer.into_inner();
    let mut start = 0;
    let payload = BinaryArray::from_iter_values(memchr_iter(b'\n', &text).map(|end| {
        let line = &text[start..end];
        start = end + 1;
        line
    }));
    if arrow::array::Array::len(&payload) != batch.num_rows() {
        return Err(Error::Internal("a row as JSON is not one line".into()));
    }
    Ok(payload)
}

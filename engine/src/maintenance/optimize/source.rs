//! Where sorted rows come from: a data file, a spilled run, or a chunk that was sorted in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions, StringArray};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use ticklake_sql::TableName;

use super::chunk::SortedChunk;
use super::spill::{self, SpillReader};
use crate::error::Step;
use crate::{Error, Result};

/// Rows of a decoded batch at most.
pub const BATCH_ROWS: usize = 4096;
/// A batch of long rows has fewer.
const BATCH_BYTES: i64 = 4 << 20;

pub enum Source {
    File(FileRows),
    Spill(SpillReader),
    Chunk(SortedChunk),
    /// Read to its end.
    Empty,
}

impl Source {
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Self::File(file) => file.next(),
            Self::Spill(reader) => reader.next().transpose().map_err(spill::failed),
            Self::Chunk(chunk) => chunk.next(),
            Self::Empty => Ok(None),
        }
    }
}

/// The rows of one data file, decoded from its bytes as they are asked for.
pub struct FileRows {
    table: TableName,
    path: String,
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    /// What its folder says of all rows.
    values: HashMap<String, Option<String>>,
}

impl FileRows {
    /// `schema`: the wanted columns; those that are not in the file are in its partition's `values`. `batch_rows`: rows decoded at once, at most.
    pub fn open(
        table: &TableName,
        path: &str,
        bytes: Bytes,
        schema: &SchemaRef,
        values: &HashMap<String, Option<String>>,
        batch_rows: usize,
    ) -> Result<Self> {
        let failed = |source: ParquetError| decode_failed(table, path, source);
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?;
        let groups = builder.metadata().row_groups();
        let (rows, bytes) = groups.iter().fold((0, 0), |(rows, bytes), group| {
            (rows + group.num_rows(), bytes + group.total_byte_size())
        });
        let fit = usize::try_from(BATCH_BYTES * rows.max(1) / bytes.max(1)).unwrap_or(batch_rows);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(fit.clamp(16, batch_rows))
            .build()
            .map_err(failed)?;
        Ok(Self {
            table: table.clone(),
            path: path.to_owned(),
            reader,
            schema: schema.clone(),
            values: values.clone(),
        })
    }

    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next() else {
            return Ok(None);
        };
        let batch = batch.map_err(|source| decode_failed(&self.table, &self.path, source.into()))?;
        conform(batch, &self.schema, &self.values).map(Some)
    }
}

fn decode_failed(table: &TableName, path: &str, source: ParquetError) -> Error {
    Error::Decode {
        table: table.clone(),
        path: path.to_owned(),
        source,
    }
}

/// The batch in exactly the columns and types of `schema`. Every column must be there, or be one of the partition: a missing one is no row of ours.
fn conform(batch: RecordBatch, schema: &SchemaRef, values: &HashMap<String, Option<String>>) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| {
            if let (None, Some(value)) = (batch.column_by_name(field.name()), values.get(field.name())) {
                let column: StringArray = std::iter::repeat_n(value.as_deref(), batch.num_rows()).collect();
                return cast(&column, field.data_type());
            }
            let index = batch.schema_ref().index_of(field.name())?;
            let column = batch.column(index);
            match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            }
        })
        .collect::<Result<_, _>>()
        .step("read a column as the table defines it")?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).step("read rows as the table defines them")
}

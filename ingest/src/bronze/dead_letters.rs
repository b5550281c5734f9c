//! Records that do not decode -> rows of `bronze.dead_letters`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryBuilder, BooleanArray, Int32Builder, Int64Builder, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use sha2::{Digest, Sha256};

use super::decode::DecodeError;
use super::positions::Positions;
use super::record_chunk::RecordChunk;
use crate::error::{Error, Result};

/// How much of a payload is kept; of a longer one also its length and its digest.
pub const KEPT_PAYLOAD_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub struct DeadLetterBuilder {
    partition: Int32Builder,
    offset: Int64Builder,
    record_ts: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    payload: BinaryBuilder,
    payload_bytes: Int64Builder,
    payload_sha256: StringBuilder,
    error_class: StringBuilder,
    error: StringBuilder,
    rows: usize,
}

impl DeadLetterBuilder {
    pub fn push(&mut self, chunk: &RecordChunk, index: usize, why: &DecodeError) {
        let payload = chunk.values.get(index);
        let whole = payload.unwrap_or_default();
        self.partition.append_value(chunk.partitions[index]);
        self.offset.append_value(chunk.offsets[index]);
        self.record_ts.append_option(chunk.record_ts_us(index));
        self.key.append_option(chunk.keys.get(index));
        self.payload
            .append_option(payload.map(|value| &value[..value.len().min(KEPT_PAYLOAD_BYTES)]));
        self.payload_bytes
            .append_value(i64::try_from(whole.len()).unwrap_or(i64::MAX));
        self.payload_sha256
            .append_option((whole.len() > KEPT_PAYLOAD_BYTES).then(|| format!("{:x}", Sha256::digest(whole))));
        self.error_class.append_value(why.class.as_str());
        self.error.append_value(&why.message);
        self.rows += 1;
    }

    /// Rows of `schema` (the table's file schema), all but `ingested_at`; `None` where every record decoded.
    pub fn finish(&mut self, schema: &SchemaRef, topic: &str) -> Result<Option<RecordBatch>> {
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n("kafka", rows))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(topic, rows))),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.record_ts.finish().with_timezone("UTC")),
            Arc::new(self.key.finish()),
            Arc::new(self.payload.finish()),
            Arc::new(self.payload_bytes.finish()),
            Arc::new(self.payload_sha256.finish()),
            Arc::new(self.error_class.finish()),
            Arc::new(self.error.finish()),
        ];
        without_ingested_at(schema, columns).map(Some)
    }
}

/// The batch of `columns` under the fields of `schema` before its last one, `ingested_at`.
pub fn without_ingested_at(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .filter(|field| field.name() != INGESTED_AT)
        .cloned()
        .collect();
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)
        .map_err(|error| Error::Internal(format!("built columns do not match the table's definition: {error}")))
}

pub const INGESTED_AT: &str = "ingested_at";

/// `batch` with the time of the write as the last column.
pub fn with_ingested_at(schema: &SchemaRef, batch: &RecordBatch, now_us: i64) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(
        TimestampMicrosecondArray::from_value(now_us, batch.num_rows()).with_timezone("UTC"),
    ));
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::Internal(format!("built columns do not match the table's definition: {error}")))
}

/// The rows of `batches` at or above `positions`: what the side table does not hold yet.
pub fn above(batches: &[RecordBatch], positions: &Positions) -> Result<Vec<RecordBatch>> {
    let mut kept = Vec::new();
    for batch in batches {
        let partitions = batch.column(2).as_primitive::<Int32Type>();
        let offsets = batch.column(3).as_primitive::<Int64Type>();
        let mask: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                Some(
                    positions
                        .get(&partitions.value(row))
                        .is_none_or(|from| offsets.value(row) >= *from),
                )
            })
            .collect();
        let batch = filter_record_batch(batch, &mask)
            .map_err(|error| Error::Internal(format!("dead letters cannot be filtered: {error}")))?;
        if batch.num_rows() > 0 {
            kept.push(batch);
        }
    }
    Ok(kept)
}

/// The partitions that `batches` hold rows of.
pub fn partitions(batches: &[RecordBatch]) -> std::collections::BTreeSet<i32> {
    batches
        .iter()
        .flat_map(|batch| batch.column(2).as_primitive::<Int32Type>().values().iter().copied())
        .collect()
}

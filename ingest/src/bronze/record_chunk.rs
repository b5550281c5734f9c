//! Records as they come from Kafka, copied once into one buffer each for values and keys, which later become Arrow columns as they stand.

use arrow::array::{BinaryArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::error::{Error, Result};

/// A chunk is handed on at the first of these: small enough to stay in cache on its way, large enough to make hand-over cheap.
pub const CHUNK_ROWS: usize = 16_384;
pub const CHUNK_BYTES: usize = 4 << 20;

/// Bytes of many values, end to end; null values have length zero and their index noted.
#[derive(Debug, Default)]
pub struct Bytes {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    nulls: Vec<u32>,
}

impl Bytes {
    fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self {
            bytes: Vec::with_capacity(bytes),
            ends,
            nulls: Vec::new(),
        }
    }

    fn push(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bytes.extend_from_slice(value),
            None => self.nulls.push((self.ends.len() - 1) as u32),
        }
        self.ends.push(self.bytes.len() as i32);
    }

    /// `None` where the value is null.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let value = &self.bytes[self.ends[index] as usize..self.ends[index + 1] as usize];
        if value.is_empty() && self.nulls.binary_search(&(index as u32)).is_ok() {
            return None;
        }
        Some(value)
    }

    fn into_array(self) -> Result<BinaryArray> {
        let rows = self.ends.len() - 1;
        let nulls = (!self.nulls.is_empty()).then(|| {
            let mut valid = vec![true; rows];
            for index in &self.nulls {
                valid[*index as usize] = false;
            }
            NullBuffer::new(BooleanBuffer::from(valid))
        });
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls)
            .map_err(|error| Error::Internal(format!("values of a chunk do not make a column: {error}")))
    }
}

/// No timestamp: librdkafka's -1, which no record carries.
const NO_TIMESTAMP: i64 = i64::MIN;

/// Records of one topic in the order in which the consumer gave them out.
#[derive(Debug)]
pub struct RecordChunk {
    pub partitions: Vec<i32>,
    pub offsets: Vec<i64>,
    timestamps_us: Vec<i64>,
    pub keys: Bytes,
    pub values: Bytes,
}

/// The columns of bronze that are Kafka's own.
pub struct KafkaColumns {
    pub partition: Int32Array,
    pub offset: Int64Array,
    pub record_ts: TimestampMicrosecondArray,
    pub payload: BinaryArray,
}

impl RecordChunk {
    /// `value_bytes`: expected size of all values.
    pub fn with_capacity(rows: usize, value_bytes: usize) -> Self {
        Self {
            partitions: Vec::with_capacity(rows),
            offsets: Vec::with_capacity(rows),
            timestamps_us: Vec::with_capacity(rows),
            keys: Bytes::with_capacity(rows, rows * 24),
            values: Bytes::with_capacity(rows, value_bytes),
        }
    }

    pub fn push(&mut self, partition: i32, offset: i64, ts_ms: Option<i64>, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.partitions.push(partition);
        self.offsets.push(offset);
        self.timestamps_us
            .push(ts_ms.map_or(NO_TIMESTAMP, |ms| ms.saturating_mul(1000)));
        self.keys.push(key);
        self.values.push(value);
    }

    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    pub fn value_bytes(&self) -> usize {
        self.values.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.rows() >= CHUNK_ROWS || self.value_bytes() >= CHUNK_BYTES
    }

    pub fn record_ts_us(&self, index: usize) -> Option<i64> {
        let ts = self.timestamps_us[index];
        (ts != NO_TIMESTAMP).then_some(ts)
    }

    /// Gives the buffers away as columns; no row is copied.
    pub fn into_columns(self) -> Result<KafkaColumns> {
        let nulls = self.timestamps_us.contains(&NO_TIMESTAMP).then(|| {
            let valid: Vec<bool> = self.timestamps_us.iter().map(|ts| *ts != NO_TIMESTAMP).collect();
            NullBuffer::from(valid)
        });
        Ok(KafkaColumns {
            partition: Int32Array::from(self.partitions),
            offset: Int64Array::from(self.offsets),
            record_ts: TimestampMicrosecondArray::new(ScalarBuffer::from(self.timestamps_us), nulls)
                .with_timezone("UTC"),
            payload: self.values.into_array()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;

    use super::*;

    #[test]
    fn null_and_empty_values_stay_apart() {
        let mut chunk = RecordChunk::with_capacity(4, 16);
        chunk.push(0, 7, Some(5), Some(b"k"), Some(b"abc"));
        chunk.push(1, 9, None, None, None);
        chunk.push(0, 8, Some(6), Some(b""), Some(b""));
        let values: Vec<_> = (0..3).map(|i| chunk.values.get(i)).collect();
        assert_eq!(values, [Some(b"abc".as_slice()), None, Some(b"".as_slice())]);
        let keys: Vec<_> = (0..3).map(|i| chunk.keys.get(i)).collect();
        assert_eq!(keys, [Some(b"k".as_slice()), None, Some(b"".as_slice())]);
        assert_eq!(chunk.record_ts_us(0), Some(5000));
        assert_eq!(chunk.record_ts_us(1), None);
        let columns = chunk.into_columns().unwrap();
        assert!(columns.payload.is_null(1) && columns.payload.is_valid(2));
        assert!(columns.record_ts.is_null(1) && columns.record_ts.is_valid(2));
        assert_eq!(columns.offset.values(), &[7, 9, 8]);
    }
}

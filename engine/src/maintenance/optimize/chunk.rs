//! Rows that come in any order, as many as memory allows: sorted by moving their numbers, copied once on the way out.

use arrow::compute::interleave_record_batch;
use arrow::record_batch::RecordBatch;

use super::order::{Keys, RowOrder};
use crate::Result;
use crate::error::Step;

/// Rows of a batch on the way out.
const BATCH_ROWS: usize = 4096;

/// Rows being gathered.
#[derive(Default)]
pub struct Chunk {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

/// The same rows in order.
pub struct SortedChunk {
    batches: Vec<RecordBatch>,
    rows: Vec<(usize, usize)>,
    at: usize,
}

impl Chunk {
    pub fn push(&mut self, batch: RecordBatch) {
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub fn sort(self, order: &RowOrder) -> Result<SortedChunk> {
        let keys: Vec<Keys> = self
            .batches
            .iter()
            .map(|batch| order.keys(batch))
            .collect::<Result<_>>()?;
        let mut rows: Vec<(usize, usize)> = self
            .batches
            .iter()
            .enumerate()
            .flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)))
            .collect();
        rows.sort_by(|a, b| keys[a.0].compare(a.1, &keys[b.0], b.1));
        Ok(SortedChunk {
            batches: self.batches,
            rows,
            at: 0,
        })
    }
}

impl SortedChunk {
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let until = self.rows.len().min(self.at + BATCH_ROWS);
        if self.at == until {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let batch = interleave_record_batch(&batches, &self.rows[self.at..until]).step("put rows in order")?;
        self.at = until;
        Ok(Some(batch))
    }
}

//! Many sorted sources into one sorted stream.
//!
//! The source with the least row gives all rows up to the least row of any other in one piece: what lies together stays together, and a
//! comparison is paid for a stretch of rows, not for each one.

use std::cmp::Ordering;

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::SchemaRef;

use super::checksum::Checksum;
use super::order::{Keys, RowOrder};
use super::source::Source;
use crate::Result;
use crate::error::Step;

/// Rows of a batch on the way out.
const BATCH_ROWS: usize = 8192;
/// Stretches of this many rows on average are copied whole, shorter ones row by row.
const LONG_STRETCH: usize = 8;

pub struct Merge {
    schema: SchemaRef,
    order: RowOrder,
    cursors: Vec<Cursor>,
    /// Numbers of the cursors that have rows, the one with the least row last.
    waiting: Vec<usize>,
    /// Of everything read from data files.
    read: Checksum,
}

/// What came next.
pub enum Merged {
    Rows(RecordBatch),
    End,
    /// A data file does not keep the order: what came so far is of no use.
    Unsorted,
}

struct Cursor {
    source: Source,
    batch: RecordBatch,
    keys: Keys,
    row: usize,
}

/// Rows of one held batch.
struct Stretch {
    batch: usize,
    from: usize,
    rows: usize,
}

impl Merge {
    /// `None`: a data file does not keep the order.
    pub fn new(schema: SchemaRef, order: RowOrder, sources: Vec<Source>) -> Result<Option<Self>> {
        let mut merge = Self {
            cursors: Vec::with_capacity(sources.len()),
            waiting: Vec::with_capacity(sources.len()),
            read: Checksum::default(),
            schema,
            order,
        };
        for mut source in sources {
            let Some(batch) = merge.load(&mut source)? else {
                continue;
            };
            let keys = merge.order.keys(&batch)?;
            if !keys.is_sorted(batch.num_rows()) {
                return Ok(None);
            }
            let cursor = merge.cursors.len();
            merge.cursors.push(Cursor {
                source,
                batch,
                keys,
                row: 0,
            });
            merge.put(cursor);
        }
        Ok(Some(merge))
    }

    /// Rows and their sum of all data files, complete at the end.
    pub fn read(&self) -> Checksum {
        self.read
    }

    pub fn next(&mut self) -> Result<Merged> {
        let mut held: Vec<RecordBatch> = Vec::new();
        let mut held_of: Vec<Option<usize>> = vec![None; self.cursors.len()];
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut rows = 0;
        while rows < BATCH_ROWS {
            let Some(number) = self.waiting.pop() else { break };
            let cursor = &self.cursors[number];
            let left = cursor.batch.num_rows();
            let run = match self.waiting.last() {
                Some(other) => {
                    let head = &self.cursors[*other];
                    cursor
                        .keys
                        .run(cursor.row, left, (&head.keys, head.row), number < *other)
                }
                None => left - cursor.row,
            };
            let run = run.min(BATCH_ROWS - rows);
            let batch = *held_of[number].get_or_insert_with(|| {
                held.push(cursor.batch.clone());
                held.len() - 1
            });
            stretches.push(Stretch {
                batch,
                from: cursor.row,
                rows: run,
            });
            rows += run;
            let cursor = &mut self.cursors[number];
            cursor.row += run;
            if cursor.row < left {
                self.put(number);
            } else {
                held_of[number] = None;
                if !self.advance(number)? {
                    return Ok(Merged::Unsorted);
                }
            }
        }
        match rows {
            0 => Ok(Merged::End),
            _ => self.gather(&held, &stretches, rows).map(Merged::Rows),
        }
    }

    /// The cursor's next batch. False: it does not keep the order.
    fn advance(&mut self, number: usize) -> Result<bool> {
        let mut source = std::mem::replace(&mut self.cursors[number].source, Source::Empty);
        let Some(batch) = self.load(&mut source)? else {
            return Ok(true);
        };
        let keys = self.order.keys(&batch)?;
        let cursor = &mut self.cursors[number];
        let last = cursor.batch.num_rows() - 1;
        let follows = cursor.keys.compare(last, &keys, 0) != Ordering::Greater;
        if !follows || !keys.is_sorted(batch.num_rows()) {
            return Ok(false);
        }
        *cursor = Cursor {
            source,
            batch,
            keys,
            row: 0,
        };
        self.put(number);
        Ok(true)
    }

    fn load(&mut self, source: &mut Source) -> Result<Option<RecordBatch>> {
        while let Some(batch) = source.next()? {
            if matches!(source, Source::File(_)) {
                self.read.add(&batch)?;
            }
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Puts a cursor where its row stands among the waiting ones. Of equal rows the source that was named first goes first.
    fn put(&mut self, number: usize) {
        let cursor = &self.cursors[number];
        let place = self.waiting.partition_point(|other| {
            let head = &self.cursors[*other];
            let ordering = head.keys.compare(head.row, &cursor.keys, cursor.row);
            ordering.then(other.cmp(&number)) == Ordering::Greater
        });
        self.waiting.insert(place, number);
    }

    fn gather(&self, held: &[RecordBatch], stretches: &[Stretch], rows: usize) -> Result<RecordBatch> {
        if let [only] = stretches {
            return Ok(held[only.batch].slice(only.from, only.rows));
        }
        if rows >= stretches.len() * LONG_STRETCH {
            let parts: Vec<RecordBatch> = stretches
                .iter()
                .map(|part| held[part.batch].slice(part.from, part.rows))
                .collect();
            return concat_batches(&self.schema, &parts).step("put rows together");
        }
        let numbers: Vec<(usize, usize)> = stretches
            .iter()
            .flat_map(|part| (part.from..part.from + part.rows).map(|row| (part.batch, row)))
            .collect();
        let batches: Vec<&RecordBatch> = held.iter().collect();
        interleave_record_batch(&batches, &numbers).step("put rows together")
    }
}

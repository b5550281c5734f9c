//! Rows of a file before the mapping: raw columns, the number of each line, and the line itself.

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

use crate::Result;
use crate::error::Step;

/// Rows of a batch: its columns stay in the cache from the parser to the encoder.
pub const BATCH_ROWS: usize = 16 * 1024;

/// The pseudo-column with the line's number.
pub const LINE: &str = "line";

#[derive(Debug, Clone)]
pub struct RawRows {
    /// Columns by the names that the mapping reads, with `line`.
    pub columns: RecordBatch,
    pub lines: Int64Array,
    pub payload: BinaryArray,
}

impl RawRows {
    pub fn slice(&self, start: usize, rows: usize) -> Self {
        Self {
            columns: self.columns.slice(start, rows),
            lines: self.lines.slice(start, rows),
            payload: self.payload.slice(start, rows),
        }
    }

    pub fn rows(&self) -> usize {
        self.lines.len()
    }
}

/// Text columns named `names`, and `line`: what the mapping of a text file is planned over.
pub fn text_schema<'a>(names: impl IntoIterator<Item = &'a str>) -> SchemaRef {
    let text = names
        .into_iter()
        .filter(|name| *name != LINE)
        .map(|name| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(text.chain([line_field()]).collect::<Vec<_>>()))
}

pub fn line_field() -> Field {
    Field::new(LINE, DataType::Int64, false)
}

/// Builds raw rows line by line, without an allocation a row.
pub struct RawBuilder {
    schema: SchemaRef,
    texts: Vec<TextColumn>,
    lines: Vec<i64>,
    payload: ByteColumn,
}

impl RawBuilder {
    /// `schema`: text columns and perhaps `line`, in any order.
    pub fn new(schema: SchemaRef) -> Self {
        let texts = schema.fields().iter().filter(|field| field.name() != LINE).count();
        Self {
            texts: (0..texts).map(|_| TextColumn::default()).collect(),
            lines: Vec::with_capacity(BATCH_ROWS),
            payload: ByteColumn::default(),
            schema,
        }
    }

    pub fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_ROWS
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Begins the row of a line; every text column must get a value then.
    pub fn start(&mut self, line: i64, payload: &[u8]) {
        self.lines.push(line);
        self.payload.push(payload);
    }

    /// Value of text column `index`, counted without `line`. Nothing at all is NULL.
    pub fn put(&mut self, index: usize, value: &[u8]) {
        let column = &mut self.texts[index];
        if value.is_empty() {
            column.nulls.append_null();
        } else {
            column.nulls.append_non_null();
        }
        column.bytes.push(value);
    }

    pub fn finish(&mut self) -> Result<RawRows> {
        let lines = Int64Array::from(std::mem::replace(&mut self.lines, Vec::with_capacity(BATCH_ROWS)));
        let mut texts = self.texts.iter_mut();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(if field.name() == LINE {
                Arc::new(lines.clone())
            } else {
                match texts.next() {
                    Some(text) => Arc::new(text.finish()?),
                    None => arrow::array::new_null_array(&DataType::Utf8, lines.len()),
                }
            });
        }
        let (offsets, values) = self.payload.finish();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(lines.len()));
        Ok(RawRows {
            columns: RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
                .step("build raw columns")?,
            payload: BinaryArray::try_new(offsets, values, None).step("build payloads")?,
            lines,
        })
    }
}

struct TextColumn {
    bytes: ByteColumn,
    nulls: NullBufferBuilder,
}

impl Default for TextColumn {
    fn default() -> Self {
        Self {
            bytes: ByteColumn::default(),
            nulls: NullBufferBuilder::new(BATCH_ROWS),
        }
    }
}

impl TextColumn {
    fn finish(&mut self) -> Result<StringArray> {
        let (offsets, values) = self.bytes.finish();
        let nulls = self.nulls.finish();
        StringArray::try_new(offsets, values, nulls).step("build a raw column")
    }
}

struct ByteColumn {
    values: Vec<u8>,
    offsets: Vec<i32>,
}

impl Default for ByteColumn {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl ByteColumn {
    fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(value);
        // A batch ends long before 2 GiB: its lines are bounded in number and length.
        self.offsets.push(self.values.len() as i32);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let fresh = Self {
            values: Vec::with_capacity(self.values.len() + self.values.len() / 8),
            offsets: {
                let mut offsets = Vec::with_capacity(BATCH_ROWS + 1);
                offsets.push(0);
                offsets
            },
        };
        let full = std::mem::replace(self, fresh);
        (
            OffsetBuffer::new(ScalarBuffer::from(full.offsets)),
            Buffer::from_vec(full.values),
        )
    }
}

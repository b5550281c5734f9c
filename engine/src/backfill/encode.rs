//! One piece of a file -> one data file of bronze, in memory: parse, map, check, encode, batch by batch. All CPU, no waiting.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use ticklake_sql::Table;
use ticklake_sql::data_file::{EncodedFile, Encoder, FileOptions};

use super::bad_line::{BadLine, Class};
use super::columns::{Origin, bronze_rows};
use super::csv::{CsvParser, CsvShape};
use super::mapping::Mapping;
use super::raw::RawRows;
use super::{jsonl, parquet_rows};
use crate::Result;
use crate::error::Step;

/// Lines of a file that are loaded by one commit.
#[derive(Debug)]
pub struct Piece {
    pub content: Content,
    pub first_line: i64,
    /// Number after the last line.
    pub next_line: i64,
    /// Lines of this range that are set aside already.
    pub bad: Vec<BadLine>,
    /// Nothing comes after it.
    pub is_last: bool,
}

#[derive(Debug)]
pub enum Content {
    Text(Vec<u8>),
    Rows(Vec<RecordBatch>),
}

/// How the pieces of one file become rows.
#[derive(Debug)]
pub struct FilePlan {
    pub shape: Shape,
    pub mapping: Mapping,
    pub origin: Origin,
    /// Lines below were loaded before.
    pub from_line: i64,
}

#[derive(Debug)]
pub enum Shape {
    Csv(CsvShape),
    Jsonl,
    Parquet,
}

/// A piece, ready to be uploaded and committed.
#[derive(Debug)]
pub struct Encoded {
    /// `None` where no line is a row.
    pub file: Option<EncodedFile>,
    pub rows: u64,
    /// First line that is a row, and the one after the last.
    pub lines: std::ops::Range<i64>,
    pub bad: Vec<BadLine>,
    pub next_line: i64,
    pub is_last: bool,
    /// `ingested_at` of the rows.
    pub now_us: i64,
}

pub fn encode(piece: Piece, plan: &FilePlan, bronze: &Table, options: FileOptions) -> Result<Encoded> {
    let now_us = bronze.lake().clock().now_us();
    let mut output = Output {
        plan,
        schema: bronze.spec().file_schema(),
        encoder: Encoder::new(bronze, options).step("begin a data file of bronze.trades")?,
        bad: piece.bad,
        lines: 0..0,
        now_us,
    };
    let mut bad = Vec::new();
    let schema: &SchemaRef = &plan.mapping.input;
    match (&plan.shape, &piece.content) {
        (Shape::Csv(shape), Content::Text(text)) => {
            let parser = CsvParser::new(shape, schema);
            parser.parse(text, piece.first_line, plan.from_line, &mut bad, |rows| {
                output.push(&rows)
            })?;
        }
        (_, Content::Text(text)) => {
            let (first, from) = (piece.first_line, plan.from_line);
            jsonl::parse(text, schema, first, from, &mut bad, |rows| output.push(&rows))?;
        }
        (_, Content::Rows(batches)) => {
            let mut line = piece.first_line;
            for batch in batches {
                let passed = usize::try_from(plan.from_line - line)
                    .unwrap_or(0)
                    .min(batch.num_rows());
                let new = batch.slice(passed, batch.num_rows() - passed);
                output.push(&parquet_rows::raw(&new, line + passed as i64, schema)?)?;
                line += batch.num_rows() as i64;
            }
        }
    }
    output.bad.append(&mut bad);
    output.bad.retain(|bad| bad.line >= plan.from_line);
    output.bad.sort_by_key(|bad| bad.line);
    let rows = output.encoder.rows();
    let file = (rows > 0).then(|| output.encoder.finish()).transpose();
    Ok(Encoded {
        file: file.step("finish a data file of bronze.trades")?,
        rows: rows as u64,
        lines: output.lines,
        bad: output.bad,
        next_line: piece.next_line,
        is_last: piece.is_last,
        now_us,
    })
}

struct Output<'a> {
    plan: &'a FilePlan,
    schema: SchemaRef,
    encoder: Encoder,
    bad: Vec<BadLine>,
    lines: std::ops::Range<i64>,
    now_us: i64,
}

impl Output<'_> {
    fn push(&mut self, rows: &RawRows) -> Result<()> {
        let (plan, encoder, now_us, schema) = (self.plan, &mut self.encoder, self.now_us, &self.schema);
        let lines = &mut self.lines;
        let (mut unfit, mut refused) = (Vec::new(), Vec::new());
        plan.mapping.apply(
            rows,
            &mut |decoded, rows| {
                let batch = bronze_rows(&decoded, rows, &plan.origin, now_us, schema, &mut unfit)?;
                let offsets = batch
                    .column_by_name("offset")
                    .map(|column| column.as_primitive::<Int64Type>());
                let (Some(first), Some(last)) = (
                    offsets.and_then(|offsets| offsets.values().first()),
                    offsets.and_then(|offsets| offsets.values().last()),
                ) else {
                    return Ok(());
                };
                *lines = if lines.is_empty() { *first } else { lines.start }..last + 1;
                encoder.push(&batch).step("encode rows of bronze.trades")
            },
            &mut |row, why| {
                let (line, payload) = (row.lines.value(0), row.payload.value(0));
                refused.push(BadLine::new(line, Class::BadValue, why, payload));
            },
        )?;
        self.bad.append(&mut unfit);
        self.bad.append(&mut refused);
        Ok(())
    }
}

//! Writing data files: rows sorted as the table stores them, one file a partition, each with the tag that says which ids it holds.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use ticklake_sql::Table;
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::ddl::TableSpec;

use super::columns::{longs, micros, strings};
use super::key::Keys;
use super::ranges::{Ranges, TAG};
use super::read::{KeyColumns, conform};
use super::rows::dates;
use super::rules::Rule;
use crate::Result;
use crate::error::Step;

/// May be a partition column beside the date.
const SYMBOL: &str = "symbol";

/// Rows of one partition, ready to be written.
#[derive(Debug)]
pub struct Piece {
    pub partition: BTreeMap<String, String>,
    pub batches: Vec<RecordBatch>,
    pub ranges: Ranges,
}

/// Silver's rows sorted by (symbol, ts, seq, trade_id, venue, kind) and split by the date of their ts, and by symbol where the table is partitioned by
/// that too. The last three make the order total.
pub fn silver_pieces(trades: &RecordBatch, spec: &TableSpec) -> Result<Vec<Piece>> {
    let by_symbol = spec.partition_columns.iter().any(|column| column == SYMBOL);
    let date = dates(trades, "ts")?;
    let (ts, seq) = (micros(trades, "ts")?, longs(trades, "seq")?);
    let (venue, symbol, kind, trade_id) = (
        strings(trades, "venue")?,
        strings(trades, "symbol")?,
        strings(trades, "kind")?,
        strings(trades, "trade_id")?,
    );
    let symbol_rank = ranks(symbol);
    let mut order: Vec<(i32, u32, i64, i64, u32)> = (0..trades.num_rows())
        .map(|row| {
            (
                date.value(row),
                symbol_rank[row],
                ts.value(row),
                seq.value(row),
                u32::try_from(row).unwrap_or(u32::MAX),
            )
        })
        .collect();
    let rest = |row: u32| {
        (
            trade_id.value(row as usize),
            venue.value(row as usize),
            kind.value(row as usize),
        )
    };
    order.sort_unstable_by(|a, b| {
        (a.0, a.1, a.2, a.3)
            .cmp(&(b.0, b.1, b.2, b.3))
            .then_with(|| rest(a.4).cmp(&rest(b.4)))
    });
    order
        .chunk_by(|a, b| a.0 == b.0 && (!by_symbol || a.1 == b.1))
        .map(|rows| {
            let rows = UInt32Array::from_iter_values(rows.iter().map(|row| row.4));
            let batch = take_record_batch(trades, &rows).step("sort the rows of a date")?;
            let mut partition = partition("date", order_date(&date, &rows));
            if by_symbol {
                partition.insert(SYMBOL.to_owned(), strings(&batch, SYMBOL)?.value(0).to_owned());
            }
            Ok(Piece {
                partition,
                ranges: silver_ranges(std::slice::from_ref(&batch))?,
                batches: vec![batch],
            })
        })
        .collect()
}

/// Quarantine's rows split by the date of their ingestion, as they come.
pub fn quarantine_pieces(rows: &RecordBatch, _: &TableSpec) -> Result<Vec<Piece>> {
    let date = dates(rows, "ingested_at")?;
    let mut of_date: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        of_date
            .entry(date.value(row))
            .or_default()
            .push(u32::try_from(row).unwrap_or(u32::MAX));
    }
    of_date
        .into_iter()
        .map(|(date, numbers)| {
            let batch = take_record_batch(rows, &UInt32Array::from(numbers)).step("split rows by date")?;
            let ranges = quarantine_ranges(std::slice::from_ref(&batch))?;
            Ok(Piece {
                partition: partition("ingest_date", date),
                ranges,
                batches: vec![batch],
            })
        })
        .collect()
}

/// Every row counts, and moves its venue's watermark.
pub fn silver_ranges(batches: &[RecordBatch]) -> Result<Ranges> {
    let mut keys = Keys::default();
    let mut rows = Vec::new();
    for batch in batches {
        let (columns, ts) = (KeyColumns::new(batch)?, micros(batch, "ts")?);
        rows.extend((0..batch.num_rows()).map(|row| (columns.key(&mut keys, row), Some(ts.value(row)))));
    }
    Ok(Ranges::of(&keys, rows.into_iter()))
}

/// Only conflicting repeats are looked for later, and none moves a watermark.
pub fn quarantine_ranges(batches: &[RecordBatch]) -> Result<Ranges> {
    let mut keys = Keys::default();
    let mut rows = Vec::new();
    for batch in batches {
        let (columns, rule) = (KeyColumns::new(batch)?, strings(batch, "rule")?);
        let conflicting = (0..batch.num_rows()).filter(|row| rule.value(*row) == Rule::ConflictingRepeat.name());
        rows.extend(conflicting.map(|row| (columns.key(&mut keys, row), None)));
    }
    Ok(Ranges::of(&keys, rows.into_iter()))
}

/// Writes the pieces, one file each. Nothing is visible before the commit that holds the Adds.
pub async fn files(table: &Table, pieces: Vec<Piece>, zstd_level: i32) -> Result<Vec<Add>> {
    let mut adds = Vec::with_capacity(pieces.len());
    let stored = table.spec().file_schema();
    for piece in pieces {
        let batches: Vec<RecordBatch> = piece
            .batches
            .iter()
            .map(|batch| conform(batch, &stored))
            .collect::<Result<_>>()?;
        let options = FileOptions {
            zstd_level,
            ..FileOptions::default()
        };
        let mut add = data_file::write(table, piece.partition, batches, options)
            .await
            .step("write a data file")?;
        add.tags
            .get_or_insert_with(HashMap::new)
            .insert(TAG.to_owned(), Some(piece.ranges.to_tag()));
        adds.push(add);
    }
    Ok(adds)
}

/// Days since the epoch as `2026-11-21`.
fn partition(column: &str, date: i32) -> BTreeMap<String, String> {
    let date = chrono::NaiveDate::default()
        .checked_add_signed(chrono::TimeDelta::days(i64::from(date)))
        .unwrap_or_default();
    BTreeMap::from([(column.to_owned(), date.to_string())])
}

fn order_date(date: &arrow::array::Date32Array, rows: &UInt32Array) -> i32 {
    date.value(rows.value(0) as usize)
}

/// The rank of each row's text among the distinct texts.
fn ranks(texts: &arrow::array::StringArray) -> Vec<u32> {
    let mut rank_of: BTreeMap<&str, u32> = texts.iter().flatten().map(|text| (text, 0)).collect();
    for (rank, value) in rank_of.values_mut().enumerate() {
        *value = u32::try_from(rank).unwrap_or(u32::MAX);
    }
    (0..texts.len())
        .map(|row| rank_of.get(texts.value(row)).copied().unwrap_or(0))
        .collect()
}

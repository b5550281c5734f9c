//! Dead letters taken up again: decoded once more by this release, or emptied of what they hold. Killable at any point, and harmless to repeat.
//!
//! A record that decodes now moves: it enters bronze.trades with the coordinates that it always had, then leaves bronze.dead_letters. After a
//! crash in between it stands in both, and the next retry takes it out of the second. A dropped one keeps its coordinates, so that a proof still
//! finds the record, and loses key and payload.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, new_null_array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use deltalake::kernel::Add;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::offset_ranges::{self, OffsetRange};
use ticklake_sql::{Lake, Table, TableName, app_ids};

use super::columns::ChunkBuilder;
use super::dead_letters::with_ingested_at;
use super::record_chunk::RecordChunk;
use super::rows_of::file_rows;
use crate::error::{Error, Result};

/// Error class of a dropped dead letter.
pub const DROPPED: &str = "dropped";
/// Lost races before the work is given up.
const ATTEMPTS: usize = 10;

/// Which dead letters; `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub class: Option<String>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reworked {
    pub selected: u64,
    /// Moved to bronze.trades, or dropped.
    pub done: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rework {
    Retry,
    Drop,
}

type Coordinates = (String, i32, i64);

/// Works on every selected dead letter, file by file, each file in a commit of its own.
pub async fn rework(lake: &Lake, selection: &Selection, how: Rework) -> Result<Reworked> {
    let letters = lake.table(&TableName::bronze_dead_letters()).await?;
    let trades = lake.create_table(&TableName::bronze_trades()).await?;
    let mut reworked = Reworked::default();
    let paths: Vec<String> = letters.files(None).await?.1.into_iter().map(|add| add.path).collect();
    for path in paths {
        let mut attempts = 0;
        loop {
            let (version, active) = letters.files(None).await?;
            let Some(add) = active.into_iter().find(|add| add.path == path) else {
                break;
            };
            match one_file(&letters, &trades, &add, version, selection, how).await? {
                Some(file) => {
                    reworked.selected += file.selected;
                    reworked.done += file.done;
                    break;
                }
                None => attempts += 1,
            }
            if attempts >= ATTEMPTS {
                return Err(Error::Internal(format!(
                    "{path} of bronze.dead_letters was rewritten by others {attempts} times in a row; try again later"
                )));
            }
        }
    }
    Ok(reworked)
}

/// `None` where another commit was first.
async fn one_file(
    letters: &Table,
    trades: &Table,
    add: &Add,
    version: u64,
    selection: &Selection,
    how: Rework,
) -> Result<Option<Reworked>> {
    let rows = file_rows(letters, add).await?;
    let selected = selection.mask(&rows)?;
    let count = selected.true_count() as u64;
    if count == 0 {
        return Ok(Some(Reworked::default()));
    }
    let (rest, done) = match how {
        Rework::Drop => (emptied(&rows, &selected)?, count),
        Rework::Retry => {
            let decoded = decode_again(letters, trades, &pick(&rows, &selected)?)?;
            if decoded.is_empty() {
                return Ok(Some(Reworked {
                    selected: count,
                    done: 0,
                }));
            }
            let moved: HashSet<Coordinates> = decoded
                .iter()
                .map(coordinates)
                .collect::<Result<Vec<_>>>()?
                .concat()
                .into_iter()
                .collect();
            if !enter(trades, add, decoded, &moved).await? {
                return Ok(None);
            }
            let stays: BooleanArray = coordinates(&rows)?.iter().map(|at| Some(!moved.contains(at))).collect();
            (pick(&rows, &stays)?, moved.len() as u64)
        }
    };
    let replaced = replace(letters, add, version, rest).await?;
    Ok(replaced.then_some(Reworked { selected: count, done }))
}

impl Selection {
    fn mask(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let classes = text(rows, "error_class")?;
        let at = coordinates(rows)?;
        Ok(at
            .iter()
            .enumerate()
            .map(|(row, (topic, partition, offset))| {
                let class = classes.value(row);
                Some(
                    class != DROPPED
                        && self.class.as_deref().is_none_or(|wanted| wanted == class)
                        && self.topic.as_ref().is_none_or(|wanted| wanted == topic)
                        && self.partition.is_none_or(|wanted| wanted == *partition)
                        && self.offset.is_none_or(|wanted| wanted == *offset),
                )
            })
            .collect())
    }
}

/// The rows that decode now, as rows of bronze.trades without `ingested_at`, a batch a topic. A payload of which only a part is kept cannot.
fn decode_again(letters: &Table, trades: &Table, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
    let mut by_topic: BTreeMap<String, RecordChunk> = BTreeMap::new();
    let (origins, digests) = (text(rows, "origin")?, text(rows, "payload_sha256")?);
    let payloads = binary(rows, "payload")?;
    let keys = binary(rows, "key")?;
    let times = column(rows, "record_ts")?.as_primitive::<TimestampMicrosecondType>();
    for (row, (topic, partition, offset)) in coordinates(rows)?.into_iter().enumerate() {
        if origins.value(row) != "kafka" || digests.is_valid(row) {
            continue;
        }
        let chunk = by_topic
            .entry(topic)
            .or_insert_with(|| RecordChunk::with_capacity(0, 0));
        let value = |column: &arrow::array::BinaryArray| column.is_valid(row).then(|| column.value(row).to_vec());
        let (key, payload) = (value(keys), value(payloads));
        let ts_ms = times.is_valid(row).then(|| times.value(row) / 1000);
        chunk.push(partition, offset, ts_ms, key.as_deref(), payload.as_deref());
    }
    let mut decoded = Vec::new();
    for (topic, chunk) in by_topic {
        let (trades, letters) = (trades.spec().file_schema(), letters.spec().file_schema());
        decoded.extend(ChunkBuilder::new(trades, letters, &topic)?.build(chunk)?.trades);
    }
    Ok(decoded)
}

/// Commits the decoded rows that bronze.trades does not hold yet. False where another commit was first.
async fn enter(trades: &Table, of: &Add, decoded: Vec<RecordBatch>, moved: &HashSet<Coordinates>) -> Result<bool> {
    let mut committer = Committer::open(trades).await?;
    let version = committer.version();
    let held = held(trades, moved).await?;
    let now_us = trades.lake().clock().now_us();
    let schema = trades.spec().file_schema();
    let mut rows = Vec::new();
    for batch in &decoded {
        let new: BooleanArray = coordinates(batch)?.iter().map(|at| Some(!held.contains(at))).collect();
        let batch = pick(batch, &new)?;
        if batch.num_rows() > 0 {
            rows.push(with_ingested_at(&schema, &batch, now_us)?);
        }
    }
    if rows.is_empty() {
        return Ok(true);
    }
    let ranges = runs(&rows, &offset_ranges::read(of).unwrap_or_default())?;
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let date = DateTime::from_timestamp_micros(now_us)
        .unwrap_or_default()
        .format("%Y-%m-%d")
        .to_string();
    let partition = BTreeMap::from([("ingest_date".to_owned(), date)]);
    let mut file = data_file::write(trades, partition, rows, FileOptions::default()).await?;
    offset_ranges::put(&mut file, &ranges);
    let app_id = format!("ticklake/{}/retry", trades.name());
    let commit = Commit {
        operation: "RETRY".into(),
        info: [("ticklake.rows".to_owned(), count.into())].into_iter().collect(),
        txns: vec![next(&committer, app_id)],
        adds: vec![file],
        read_version: Some(version),
        ..Commit::default()
    };
    Ok(matches!(committer.commit(commit).await?, Outcome::Committed { .. }))
}

/// Those of `wanted` that the table holds, out of the files that may hold them.
async fn held(trades: &Table, wanted: &HashSet<Coordinates>) -> Result<HashSet<Coordinates>> {
    let mut held = HashSet::new();
    for add in trades.files(None).await?.1 {
        let may_hold = offset_ranges::read(&add).is_none_or(|ranges| {
            let within = |range: &OffsetRange, (_, partition, offset): &Coordinates| {
                range.partition == *partition && (range.from..range.to).contains(offset)
            };
            ranges.iter().any(|range| wanted.iter().any(|at| within(range, at)))
        });
        if may_hold {
            let rows = file_rows(trades, &add).await?;
            held.extend(coordinates(&rows)?.into_iter().filter(|at| wanted.contains(at)));
        }
    }
    Ok(held)
}

/// Puts `rest` in the place of the file. False where another commit was first.
async fn replace(letters: &Table, add: &Add, version: u64, rest: RecordBatch) -> Result<bool> {
    let mut committer = Committer::open(letters).await?;
    let mut adds = Vec::new();
    if rest.num_rows() > 0 {
        let partition = add
            .partition_values
            .iter()
            .filter_map(|(column, value)| Some((column.clone(), value.clone()?)))
            .collect();
        let ranges = runs(
            std::slice::from_ref(&rest),
            &offset_ranges::read(add).unwrap_or_default(),
        )?;
        let mut file = data_file::write(letters, partition, vec![rest], FileOptions::default()).await?;
        offset_ranges::put(&mut file, &offset_ranges::merge(ranges));
        adds.push(file);
    }
    let app_id = app_ids::writer(letters.name());
    let commit = Commit {
        operation: "REWORK".into(),
        txns: vec![next(&committer, app_id)],
        removes: vec![removal(add, letters.lake().clock().now(), true)],
        adds,
        read_version: Some(version),
        ..Commit::default()
    };
    Ok(matches!(committer.commit(commit).await?, Outcome::Committed { .. }))
}

fn next(committer: &Committer, app_id: String) -> Txn {
    let version = committer.positions().get(&app_id).copied().unwrap_or(0) + 1;
    Txn { app_id, version }
}

/// The topic id of a row, as the tag of its file says: merged files hold rows of files and of Kafka under the same partition.
fn topic_id(of: &[OffsetRange], (topic, partition, offset): &Coordinates) -> String {
    let is_kafka = |id: &str| !offset_ranges::is_file_topic(id);
    let holds = |range: &&OffsetRange| range.partition == *partition && (range.from..range.to).contains(offset);
    let found = of.iter().filter(holds).find(|range| is_kafka(&range.topic_id));
    match found {
        Some(range) if is_kafka(topic) => range.topic_id.clone(),
        _ => topic.clone(),
    }
}

/// One range a run of neighbouring offsets, so that scattered rows cover nothing in between.
fn runs(rows: &[RecordBatch], tag: &[OffsetRange]) -> Result<Vec<OffsetRange>> {
    let mut all: Vec<Coordinates> = rows.iter().map(coordinates).collect::<Result<Vec<_>>>()?.concat();
    all.sort_unstable();
    let mut runs: Vec<OffsetRange> = Vec::new();
    for at in all {
        let topic_id = topic_id(tag, &at);
        let (_, partition, offset) = at;
        match runs.last_mut() {
            Some(last) if last.topic_id == topic_id && last.partition == partition && last.to == offset => {
                last.to += 1;
                last.rows += 1;
            }
            _ => runs.push(OffsetRange {
                topic_id,
                partition,
                from: offset,
                to: offset + 1,
                rows: 1,
            }),
        }
    }
    Ok(runs)
}

/// The rows with what the selected ones held taken out of them.
fn emptied(rows: &RecordBatch, selected: &BooleanArray) -> Result<RecordBatch> {
    let (classes, errors) = (text(rows, "error_class")?, text(rows, "error")?);
    let picked = |row: usize| selected.value(row);
    let class = (0..rows.num_rows()).map(|row| if picked(row) { DROPPED } else { classes.value(row) });
    let error = (0..rows.num_rows()).map(|row| {
        if picked(row) {
            format!("{}: {}", classes.value(row), errors.value(row))
        } else {
            errors.value(row).to_owned()
        }
    });
    let (class, error): (StringArray, Vec<String>) = (class.map(Some).collect(), error.collect());
    let without = |name: &str| -> Result<ArrayRef> {
        let column = column(rows, name)?;
        let gone = new_null_array(column.data_type(), column.len());
        arrow::compute::kernels::zip::zip(selected, &gone, column).map_err(failed)
    };
    let columns = rows
        .schema()
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "error_class" => Ok(Arc::new(class.clone()) as ArrayRef),
            "error" => Ok(Arc::new(StringArray::from(error.clone())) as ArrayRef),
            name @ ("key" | "payload") => without(name),
            name => column(rows, name).cloned(),
        })
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(rows.schema(), columns).map_err(failed)
}

fn coordinates(rows: &RecordBatch) -> Result<Vec<Coordinates>> {
    let topics = text(rows, "topic")?;
    let partitions = column(rows, "partition")?.as_primitive::<Int32Type>();
    let offsets = column(rows, "offset")?.as_primitive::<Int64Type>();
    Ok((0..rows.num_rows())
        .map(|row| (topics.value(row).to_owned(), partitions.value(row), offsets.value(row)))
        .collect())
}

fn pick(rows: &RecordBatch, wanted: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(rows, wanted).map_err(failed)
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(name)
        .ok_or_else(|| Error::Internal(format!("dead letters without a column {name}")))
}

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    column(rows, name)?
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::Internal(format!("{name} is no text")))
}

fn binary<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::BinaryArray> {
    column(rows, name)?
        .as_binary_opt::<i32>()
        .ok_or_else(|| Error::Internal(format!("{name} holds no bytes")))
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::Internal(format!("dead letters cannot be rewritten: {error}"))
}

/// Batches of one schema as one.
pub(super) fn together(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    concat_batches(schema, batches).map_err(failed)
}

#[cfg(test)]
mod tests;

//! Taking an old content of a file out of bronze: its data files are removed in one commit, files that it shares with other rows are written
//! again without its rows. Silver keeps what it made of them until the dates are rebuilt, since it reads no removals of bronze.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, NaiveDate};
use deltalake::kernel::{Add, Remove};
use serde_json::json;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::offset_ranges::{self, OffsetRange};
use ticklake_sql::{Table, app_ids};

use super::ledger::Ledger;
use super::positions;
use crate::error::Step;
use crate::silver::read::{self, FileRef, off_runtime};
use crate::{Error, Result};

/// Lost races against other writers before it is given up.
const ATTEMPTS: u32 = 10;

/// First and last UTC date of trade.
type Dates = Option<(NaiveDate, NaiveDate)>;

/// Takes the rows with the digest `loaded` out of both tables and records `sha256` as the content of `address`. Dates of the rows taken out.
pub async fn take_out(ledger: &Ledger, loaded: &str, address: &str, sha256: &str, generation: i64) -> Result<Dates> {
    let topic = offset_ranges::file_topic(loaded);
    take_out_of(&ledger.dead_letters, &topic, loaded, Vec::new()).await?;
    let name = positions::name_txn(ledger.trades.name(), address, sha256, generation);
    take_out_of(&ledger.trades, &topic, loaded, vec![name]).await
}

async fn take_out_of(table: &Table, topic: &str, loaded: &str, further: Vec<Txn>) -> Result<Dates> {
    for _ in 0..ATTEMPTS {
        let mut committer = Committer::open(table).await.step("read the positions of a table")?;
        let version = committer.version();
        let found = find(table, version, topic).await?;
        let mut txns = further.clone();
        // It may come back: then it is loaded from its first line again.
        txns.push(positions::position_txn(table.name(), loaded, 0));
        txns.push(positions::end_txn(table.name(), loaded, 0));
        txns.push(Txn {
            app_id: positions::records_app_id(table.name(), loaded),
            version: 0,
        });
        let app_id = app_ids::writer(table.name());
        let version_before = committer.positions().get(&app_id).copied().unwrap_or(0);
        txns.push(Txn {
            app_id,
            version: version_before + 1,
        });
        let info = [
            ("ticklake.replaced", json!(topic)),
            ("ticklake.rows", json!(found.rows)),
        ];
        let commit = Commit {
            operation: "DELETE".to_owned(),
            info: info.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            txns,
            adds: found.kept,
            removes: found.removes,
            read_version: Some(version),
            allow_backwards: true,
            ..Commit::default()
        };
        if let Outcome::Committed { .. } = committer.commit(commit).await.step("take a file's old rows out")? {
            return Ok(found.dates);
        }
    }
    Err(Error::Contended {
        table: table.name().clone(),
        attempts: ATTEMPTS,
    })
}

#[derive(Default)]
struct Found {
    removes: Vec<Remove>,
    /// Files with the other rows of removed ones.
    kept: Vec<Add>,
    rows: u64,
    dates: Dates,
}

async fn find(table: &Table, version: u64, topic: &str) -> Result<Found> {
    let mut found = Found::default();
    let (_, adds) = table.files(Some(version)).await.step("load the files of a table")?;
    for add in adds {
        if may_hold(&add, topic) {
            take(table, &add, topic, &mut found).await?;
        }
    }
    Ok(found)
}

async fn take(table: &Table, add: &Add, topic: &str, found: &mut Found) -> Result<()> {
    let file = FileRef::of(add);
    let rows = {
        let (table, schema) = (table.clone(), table.spec().file_schema());
        off_runtime(async move { read::rows(&table, &[file], &schema).await }).await?
    };
    let topics = column(&rows, "topic")?.as_string::<i32>();
    let others: BooleanArray = topics.iter().map(|of_row| Some(of_row != Some(topic))).collect();
    let kept = others.true_count();
    if kept == rows.num_rows() {
        return Ok(());
    }
    found.rows += (rows.num_rows() - kept) as u64;
    found.dates = widened(found.dates, &rows, &others);
    let now = table.lake().clock().now();
    found.removes.push(removal(add, now, true));
    if kept > 0 {
        let rows = filter_record_batch(&rows, &others).step("keep the rows of other files")?;
        let partition: BTreeMap<String, String> = add
            .partition_values
            .iter()
            .filter_map(|(column, value)| Some((column.clone(), value.clone()?)))
            .collect();
        let written = data_file::write(table, partition, vec![rows], FileOptions::default());
        let mut written = written.await.step("write the rows of other files again")?;
        // They are not new: silver has read them.
        written.data_change = false;
        if let Some(ranges) = ranges_without(add, topic) {
            offset_ranges::put(&mut written, &ranges);
        }
        found.kept.push(written);
    }
    Ok(())
}

/// What `add` says of the rows that stay.
fn ranges_without(add: &Add, topic: &str) -> Option<Vec<OffsetRange>> {
    let ranges = offset_ranges::read(add)?;
    Some(ranges.into_iter().filter(|range| range.topic_id != topic).collect())
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    rows.column_by_name(name)
        .ok_or_else(|| Error::Internal(format!("column {name} is missing")))
}

fn widened(dates: Dates, rows: &RecordBatch, others: &BooleanArray) -> Dates {
    let Some(ts) = rows.column_by_name("ts") else {
        return dates;
    };
    let ts = ts.as_primitive::<TimestampMicrosecondType>();
    let gone = ts
        .values()
        .iter()
        .zip(others.iter())
        .filter(|(_, other)| *other == Some(false));
    let day = |us: i64| DateTime::from_timestamp_micros(us).map(|ts| ts.date_naive());
    gone.fold(dates, |dates, (us, _)| match (dates, day(*us)) {
        (Some((from, to)), Some(day)) => Some((from.min(day), to.max(day))),
        (None, Some(day)) => Some((day, day)),
        (dates, None) => dates,
    })
}

/// False only where the statistics prove that the topic is not in the file. They hold a beginning of a long text, rounded up at the upper end.
fn may_hold(add: &Add, topic: &str) -> bool {
    let stats = add
        .stats
        .as_deref()
        .and_then(|stats| serde_json::from_str::<serde_json::Value>(stats).ok());
    let bound = |which: &str| stats.as_ref()?.get(which)?.get("topic")?.as_str().map(str::to_owned);
    match (bound("minValues"), bound("maxValues")) {
        (Some(least), Some(greatest)) => least.as_str() <= topic && topic <= greatest.as_str(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_shared_file_keeps_its_ranges() {
        let range = |topic: &str| OffsetRange {
            topic_id: topic.to_owned(),
            partition: 0,
            from: 1,
            to: 4,
            rows: 3,
        };
        let mut shared = Add::default();
        offset_ranges::put(&mut shared, &[range("file:ab"), range("t")]);
        assert_eq!(ranges_without(&shared, "file:ab"), Some(vec![range("t")]));
        assert_eq!(ranges_without(&Add::default(), "file:ab"), None);
    }
}

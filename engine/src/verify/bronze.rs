//! Bronze against Kafka: each record once, over bronze.trades and bronze.dead_letters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use deltalake::kernel::Add;
use serde_json::json;
use ticklake_sql::Table;

use super::files::{self, Shared, differ};
use super::offsets::Offsets;
use super::origins::{Number, Origin, Origins, Topic};
use super::report::{Difference, Missing, OriginCount, at};
use crate::Result;
use crate::silver::columns::{ints, longs, micros, strings};

/// Columns that say which record a row is.
const COORDINATES: [&str; 3] = ["topic", "partition", "offset"];
const COORDINATES_AND_TIME: [&str; 4] = ["topic", "partition", "offset", "ingested_at"];

/// The records that some files hold, by origin.
#[derive(Debug, Clone, Default)]
pub struct Held(HashMap<Number, Offsets>);

impl Held {
    pub fn of(&self, number: Number) -> Option<&Offsets> {
        self.0.get(&number)
    }

    pub fn of_mut(&mut self, number: Number) -> &mut Offsets {
        self.0.entry(number).or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Number, &Offsets)> {
        self.0.iter().map(|(number, offsets)| (*number, offsets))
    }

    pub fn len(&self) -> u64 {
        self.0.values().map(Offsets::len).sum()
    }
}

/// What several readers fill together.
pub type SharedOrigins = Arc<Mutex<Origins>>;
type SharedHeld = Arc<Mutex<Held>>;

pub fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn coordinates(origins: &SharedOrigins) -> &'static [&'static str] {
    if lock(origins).need_time() {
        &COORDINATES_AND_TIME
    } else {
        &COORDINATES
    }
}

/// Reads the coordinates of every row of `adds` into a set that starts as `held`. A record that is in it already is named as `twice`.
pub async fn gather(
    table: &Table,
    adds: Vec<Add>,
    at_once: usize,
    origins: &SharedOrigins,
    held: Held,
    twice: &'static str,
    report: &Shared,
) -> Result<(Held, Vec<Add>)> {
    let shared: SharedHeld = Arc::new(Mutex::new(held));
    let (into, names, told, of) = (shared.clone(), origins.clone(), report.clone(), table.clone());
    let visit = move |add: &Add, batch: &RecordBatch| {
        let mut repeated = Runs::default();
        let rows = each_row(
            batch,
            &names,
            |number, offset, into: &mut Held| {
                if !into.of_mut(number).insert(offset) {
                    repeated.push(number, offset);
                }
            },
            &into,
        )?;
        lock(&told).rows += rows;
        for (number, from, to) in repeated.0 {
            let mut at = record_at(&lock(&names), number, from, to);
            at.extend(files::file_at(&of, &add.path));
            let count = u64::try_from(to - from).unwrap_or(0);
            let what = if count == 1 {
                "the record is there twice, here for the second time".to_owned()
            } else {
                format!("{count} records are there twice, here for the second time")
            };
            let table = of.name().to_string();
            differ(
                &told,
                count,
                Difference {
                    check: twice,
                    table,
                    at,
                    what,
                },
            );
        }
        Ok(())
    };
    let read = files::each(table, adds, coordinates(origins), at_once, report, visit).await?;
    let held = std::mem::take(&mut *lock(&shared));
    Ok((held, read))
}

/// Calls `row` with the origin and offset of each row.
pub fn each_row<T>(
    batch: &RecordBatch,
    origins: &SharedOrigins,
    mut row: impl FnMut(Number, i64, &mut T),
    into: &Mutex<T>,
) -> Result<u64> {
    let (topics, partitions, offsets) = (
        strings(batch, "topic")?,
        ints(batch, "partition")?,
        longs(batch, "offset")?,
    );
    let times = match batch.column_by_name("ingested_at") {
        Some(_) => Some(micros(batch, "ingested_at")?),
        None => None,
    };
    let mut into = lock(into);
    let mut last: Option<(usize, Number)> = None;
    for at in 0..batch.num_rows() {
        let number = match last {
            Some((seen, number))
                if partitions.value(seen) == partitions.value(at)
                    && topics.value(seen) == topics.value(at)
                    && times.is_none_or(|times| times.value(seen) == times.value(at)) =>
            {
                number
            }
            _ => {
                let time = times.map_or(i64::MAX - 1, |times| times.value(at));
                lock(origins).find(topics.value(at), partitions.value(at), time)
            }
        };
        last = Some((at, number));
        row(number, offsets.value(at), &mut into);
    }
    Ok(batch.num_rows() as u64)
}

/// Offsets in runs, in the order in which they come.
#[derive(Debug, Default)]
pub struct Runs(pub Vec<(Number, i64, i64)>);

impl Runs {
    pub fn push(&mut self, number: Number, offset: i64) {
        match self.0.last_mut() {
            Some((last, _, to)) if *last == number && *to == offset => *to += 1,
            _ => self.0.push((number, offset, offset + 1)),
        }
    }
}

/// Coordinates of a run of records.
pub fn record_at(origins: &Origins, number: Number, from: i64, to: i64) -> serde_json::Map<String, serde_json::Value> {
    let (topic, topic_id, partition) = origins
        .get(number)
        .map(|origin| (origin.topic.clone(), origin.topic_id.clone(), origin.partition))
        .unwrap_or_default();
    let mut coordinates = at(&[("topic", json!(topic)), ("partition", json!(partition))]);
    if topic_id != topic {
        coordinates.insert("topic_id".into(), json!(topic_id));
    }
    if to == from + 1 {
        coordinates.insert("offset".into(), json!(from));
    } else {
        coordinates.insert("from".into(), json!(from));
        coordinates.insert("to".into(), json!(to));
    }
    coordinates
}

/// What the tables hold of one origin, up to bronze's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// First offset held, and the one after the last that should be.
    pub from: i64,
    pub to: i64,
    /// Offsets held, in runs, in order.
    pub covered: Vec<(i64, i64)>,
    pub bronze: u64,
    pub dead_letters: u64,
}

impl Tally {
    /// `trades` and `all`: without and with the dead letters. What lies beyond the position is the side table's being ahead.
    pub fn of(origin: &Origin, trades: &Offsets, all: &Offsets) -> Self {
        let to = origin.position.or(all.end()).unwrap_or(0);
        let from = all.first().unwrap_or(to).min(to);
        let covered: Vec<(i64, i64)> = all
            .ranges()
            .map(|run| (run.start.max(from), run.end.min(to)))
            .filter(|(from, to)| from < to)
            .collect();
        let rows: i64 = covered.iter().map(|(from, to)| to - from).sum();
        let bronze = trades.count_in(from..to);
        Self {
            from,
            to,
            covered,
            bronze,
            dead_letters: u64::try_from(rows).unwrap_or(0).saturating_sub(bronze),
        }
    }

    fn gaps(&self, from: i64) -> Vec<(i64, i64)> {
        let mut gaps = Vec::new();
        let mut at = from;
        for (start, end) in &self.covered {
            if *start > at {
                gaps.push((at, *start));
            }
            at = at.max(*end);
        }
        if at < self.to {
            gaps.push((at, self.to));
        }
        gaps
    }
}

/// What the tables hold of each origin, and what they lack.
#[derive(Debug, Default)]
pub struct Counted {
    pub origins: Vec<OriginCount>,
    /// Offsets of Kafka that neither table holds.
    pub missing: Vec<Missing>,
    /// Files that have given more records, or fewer, than the tables hold.
    pub differences: Vec<(u64, Difference)>,
}

/// Counts each origin. Lines of a file that are no records are holes.
pub fn count(origins: &Origins, topic: Option<&Topic>, tallies: &HashMap<Number, Tally>) -> Counted {
    let mut counted = Counted::default();
    for (number, origin) in origins.iter() {
        let nothing = Tally::of(origin, &Offsets::default(), &Offsets::default());
        let tally = tallies.get(&number).unwrap_or(&nothing);
        let in_kafka = topic
            .filter(|topic| topic.id == origin.topic_id)
            .and_then(|topic| topic.partitions.get(&origin.partition))
            .copied();
        // What Kafka still holds was there to be read, unless retention has taken it from bronze since.
        let start = in_kafka.filter(|_| !origins.are_cut()).map(|(start, _)| start);
        let from = start.unwrap_or(tally.from).min(tally.from).min(tally.to);
        let gaps = tally.gaps(from);
        let records = tally.bronze + tally.dead_letters;
        let lines = u64::try_from(tally.to - from).unwrap_or(0);
        counted.origins.push(OriginCount {
            topic: origin.topic.clone(),
            topic_id: origin.topic_id.clone(),
            partition: origin.partition,
            from,
            to: tally.to,
            in_kafka: in_kafka.map(|(start, end)| (tally.to.min(end) - from.max(start)).max(0)),
            behind: in_kafka.map(|(_, end)| (end - tally.to).max(0)),
            bronze: tally.bronze,
            dead_letters: tally.dead_letters,
            holes: if origin.is_file() {
                lines.saturating_sub(records)
            } else {
                0
            },
            missing: 0,
        });
        if origin.is_file() {
            counted.differences.extend(file_difference(origin, records));
            continue;
        }
        counted.missing.extend(gaps.into_iter().map(|(from, to)| Missing {
            topic: origin.topic.clone(),
            topic_id: origin.topic_id.clone(),
            partition: origin.partition,
            from,
            to,
        }));
    }
    let order = |a: &OriginCount, b: &OriginCount| {
        (&a.topic, &a.topic_id, a.partition).cmp(&(&b.topic, &b.topic_id, b.partition))
    };
    counted.origins.sort_by(order);
    counted.missing.sort();
    counted
}

fn file_difference(origin: &Origin, records: u64) -> Option<(u64, Difference)> {
    let given = origin.records.filter(|given| *given != records)?;
    let difference = Difference {
        check: "file_records",
        table: "bronze.trades".into(),
        at: at(&[("topic", json!(origin.topic))]),
        what: format!("the file has given {given} records, bronze.trades and bronze.dead_letters hold {records}"),
    };
    Some((given.abs_diff(records), difference))
}

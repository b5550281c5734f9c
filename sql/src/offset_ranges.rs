//! Which records a file of bronze holds, as a tag of its Add: what a proof counts without reading a row. A rewrite of files merges their tags.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use deltalake::kernel::Add;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Tag of an Add of bronze.trades and bronze.dead_letters: `[[topic id, partition, from, to, rows], ...]`.
pub const TAG: &str = "ticklake.ranges";

/// What the topic of a file begins with.
const FILE: &str = "file:";

/// Topic, and topic id, of the lines of the file with this digest.
pub fn file_topic(sha256: &str) -> String {
    format!("{FILE}{sha256}")
}

/// The topic, or topic id, is that of a file, not one of Kafka's.
pub fn is_file_topic(topic: &str) -> bool {
    topic.starts_with(FILE)
}

/// Rows of one partition of one topic, or of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Entry", into = "Entry")]
pub struct OffsetRange {
    /// The topic's id, or `file:<sha256>`.
    pub topic_id: String,
    pub partition: i32,
    /// First offset, and the one after the last.
    pub from: i64,
    pub to: i64,
    /// Offsets in between that hold no row of this file are not counted.
    pub rows: u64,
}

type Entry = (String, i32, i64, i64, u64);

impl From<Entry> for OffsetRange {
    fn from((topic_id, partition, from, to, rows): Entry) -> Self {
        Self {
            topic_id,
            partition,
            from,
            to,
            rows,
        }
    }
}

impl From<OffsetRange> for Entry {
    fn from(range: OffsetRange) -> Self {
        (range.topic_id, range.partition, range.from, range.to, range.rows)
    }
}

/// Ranges in the making, while the rows of a file of one topic come together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered(BTreeMap<i32, (i64, i64, u64)>);

impl Gathered {
    /// Rows with the columns `partition` and `offset` of bronze.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let missing = || Error::Internal("rows without partition and offset have no range".into());
        let partitions = rows.column_by_name("partition").ok_or_else(missing)?;
        let partitions = partitions.as_primitive_opt::<Int32Type>().ok_or_else(missing)?;
        let offsets = rows.column_by_name("offset").ok_or_else(missing)?;
        let offsets = offsets.as_primitive_opt::<Int64Type>().ok_or_else(missing)?;
        let mut at = 0;
        // Records of one partition come in runs.
        for run in partitions.values().chunk_by(|a, b| a == b) {
            let offsets = &offsets.values()[at..at + run.len()];
            at += run.len();
            let (Some(partition), Some(least), Some(greatest)) =
                (run.first(), offsets.iter().min(), offsets.iter().max())
            else {
                continue;
            };
            let (from, to, rows) = self.0.entry(*partition).or_insert((i64::MAX, i64::MIN, 0));
            *from = (*from).min(*least);
            *to = (*to).max(greatest.saturating_add(1));
            *rows += run.len() as u64;
        }
        Ok(())
    }

    pub fn of_topic(self, topic_id: &str) -> Vec<OffsetRange> {
        let range = |(partition, (from, to, rows))| OffsetRange {
            topic_id: topic_id.to_owned(),
            partition,
            from,
            to,
            rows,
        };
        self.0.into_iter().map(range).collect()
    }
}

/// The ranges in the tag of `add`; `None` where it has none that can be read.
pub fn read(add: &Add) -> Option<Vec<OffsetRange>> {
    serde_json::from_str(add.tags.as_ref()?.get(TAG)?.as_deref()?).ok()
}

pub fn to_tag(ranges: &[OffsetRange]) -> String {
    serde_json::to_string(ranges).unwrap_or_default()
}

/// Puts the tag in its place.
pub fn put(add: &mut Add, ranges: &[OffsetRange]) {
    add.tags
        .get_or_insert_with(HashMap::new)
        .insert(TAG.to_owned(), Some(to_tag(ranges)));
}

/// The ranges of a file that holds the rows of several.
pub fn merge(ranges: impl IntoIterator<Item = OffsetRange>) -> Vec<OffsetRange> {
    let mut merged: BTreeMap<(String, i32), OffsetRange> = BTreeMap::new();
    for range in ranges {
        match merged.get_mut(&(range.topic_id.clone(), range.partition)) {
            Some(known) => {
                known.from = known.from.min(range.from);
                known.to = known.to.max(range.to);
                known.rows += range.rows;
            }
            None => {
                merged.insert((range.topic_id.clone(), range.partition), range);
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array};

    use super::*;

    fn rows(rows: &[(i32, i64)]) -> RecordBatch {
        let partitions: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
        let offsets: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
        RecordBatch::try_from_iter([("partition", partitions), ("offset", offsets)]).unwrap()
    }

    #[test]
    fn a_tag_says_which_records_a_file_holds() {
        let mut gathered = Gathered::default();
        gathered.add(&rows(&[(0, 5), (1, 9), (0, 7)])).unwrap();
        gathered.add(&rows(&[(0, 6)])).unwrap();
        let ranges = gathered.of_topic("t");
        let mut add = Add::default();
        put(&mut add, &ranges);
        let tag = add.tags.as_ref().unwrap()[TAG].as_deref().unwrap();
        assert_eq!(tag, r#"[["t",0,5,8,3],["t",1,9,10,1]]"#);
        assert_eq!(read(&add).unwrap(), ranges);
        assert_eq!(read(&Add::default()), None);
    }

    #[test]
    fn merged_ranges_span_both_and_count_all() {
        let range = |topic: &str, from, to, rows| OffsetRange::from((topic.to_owned(), 0, from, to, rows));
        let merged = merge([range("t", 8, 10, 2), range("u", 0, 1, 1), range("t", 2, 5, 3)]);
        assert_eq!(merged, [range("t", 2, 10, 5), range("u", 0, 1, 1)]);
    }
}

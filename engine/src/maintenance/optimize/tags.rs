//! What the Adds of merged files said of them, said of the file that they became: the ranges of trade ids by which silver finds repeats, and
//! the records of bronze by which a proof counts them.
//!
//! A file without its ranges makes silver read its key columns at every start, so ranges that no Add tells are taken from the rows. Records are
//! told by all files or by none: a topic's id stands in no row.

use std::collections::{BTreeMap, HashMap};

use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use ticklake_sql::TableName;
use ticklake_sql::offset_ranges::{self, OffsetRange};

use crate::Result;
use crate::silver::ranges::{Ranges, Span, TAG};
use crate::silver::write::{quarantine_ranges, silver_ranges};

/// Which rows of a table have ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Silver,
    Quarantine,
    Nowhere,
}

fn kept(table: &TableName) -> Kept {
    match *table == TableName::silver_trades() {
        true => Kept::Silver,
        false if *table == TableName::silver_quarantine() => Kept::Quarantine,
        false => Kept::Nowhere,
    }
}

/// The ranges that an Add tells, whole ones only.
pub fn ranges(add: &Add) -> Option<Ranges> {
    let tag = add.tags.as_ref()?.get(TAG)?.as_deref()?;
    Ranges::from_tag(tag).filter(|ranges| ranges.groups.is_some())
}

/// Gathers the tags of one merged file.
pub struct Tags {
    kept: Kept,
    ranges: Ranges,
    /// Ranges come from the rows.
    from_rows: bool,
    /// Records of bronze, where every Add tells its own.
    records: Option<Vec<OffsetRange>>,
    /// Tags of other parties that all files share.
    shared: HashMap<String, Option<String>>,
}

impl Tags {
    pub fn of<'a>(table: &TableName, adds: impl Iterator<Item = &'a Add> + Clone) -> Self {
        let kept = kept(table);
        let mut merged = Ranges {
            groups: Some(BTreeMap::new()),
            watermarks: BTreeMap::new(),
        };
        let mut from_rows = false;
        if kept != Kept::Nowhere {
            for add in adds.clone() {
                match ranges(add) {
                    Some(ranges) => merge(&mut merged, ranges),
                    None => from_rows = true,
                }
            }
        }
        Self {
            kept,
            ranges: merged,
            from_rows,
            records: records(adds.clone()),
            shared: shared(adds),
        }
    }

    /// Of a file that holds some of the rows of `adds`: ranges are told of its own rows alone, and records, which no row tells whole, not at all.
    pub fn of_some<'a>(table: &TableName, adds: impl Iterator<Item = &'a Add> + Clone) -> Self {
        Self {
            ranges: Ranges {
                groups: Some(BTreeMap::new()),
                watermarks: BTreeMap::new(),
            },
            from_rows: true,
            records: None,
            ..Self::of(table, adds)
        }
    }

    pub fn see(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.from_rows {
            let rows = std::slice::from_ref(rows);
            let ranges = match self.kept {
                Kept::Silver => silver_ranges(rows)?,
                Kept::Quarantine => quarantine_ranges(rows)?,
                Kept::Nowhere => return Ok(()),
            };
            merge(&mut self.ranges, ranges);
        }
        Ok(())
    }

    pub fn finish(self) -> Option<HashMap<String, Option<String>>> {
        let mut tags = self.shared;
        if self.kept != Kept::Nowhere {
            tags.insert(TAG.to_owned(), Some(self.ranges.to_tag()));
        }
        if let Some(records) = self.records {
            tags.insert(offset_ranges::TAG.to_owned(), Some(offset_ranges::to_tag(&records)));
        }
        (!tags.is_empty()).then_some(tags)
    }
}

fn records<'a>(adds: impl Iterator<Item = &'a Add>) -> Option<Vec<OffsetRange>> {
    let all: Option<Vec<Vec<OffsetRange>>> = adds.map(offset_ranges::read).collect();
    Some(offset_ranges::merge(all?.into_iter().flatten()))
}

fn shared<'a>(mut adds: impl Iterator<Item = &'a Add>) -> HashMap<String, Option<String>> {
    let mut shared = adds.next().and_then(|add| add.tags.clone()).unwrap_or_default();
    shared.remove(TAG);
    shared.remove(offset_ranges::TAG);
    for add in adds {
        shared.retain(|key, value| add.tags.as_ref().and_then(|tags| tags.get(key)) == Some(value));
    }
    shared
}

fn merge(into: &mut Ranges, other: Ranges) {
    for (venue, ts) in other.watermarks {
        let watermark = into.watermarks.entry(venue).or_insert(ts);
        *watermark = (*watermark).max(ts);
    }
    let (Some(groups), Some(others)) = (&mut into.groups, other.groups) else {
        return;
    };
    for (group, span) in others {
        match groups.get_mut(&group) {
            Some(own) => widen(own, span),
            None => {
                groups.insert(group, span);
            }
        }
    }
}

fn widen(own: &mut Span, other: Span) {
    match (own, other) {
        (Span::Numbers(least, greatest), Span::Numbers(from, to)) => {
            *least = from.min(*least);
            *greatest = to.max(*greatest);
        }
        (Span::Texts(least, greatest), Span::Texts(from, to)) => {
            if from < *least {
                *least = from;
            }
            if to > *greatest {
                *greatest = to;
            }
        }
        // A group's series says which of the two its ids are.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silver::key::Keys;

    fn add(ids: &[&str], ts: i64) -> Add {
        let mut keys = Keys::default();
        let rows: Vec<_> = ids
            .iter()
            .map(|id| (keys.key("v", "A-B", "trade", id), Some(ts)))
            .collect();
        let tag = Ranges::of(&keys, rows.into_iter()).to_tag();
        let tags = [(TAG.to_owned(), Some(tag)), ("level".to_owned(), Some("1".to_owned()))];
        Add {
            tags: Some(tags.into()),
            ..Add::default()
        }
    }

    #[test]
    fn the_merged_tag_is_that_of_all_rows() {
        let files = [
            add(&["5", "9", "x-1-3"], 7),
            add(&["2", "6", "b"], 9),
            add(&["x-1-1", "a", "c"], 8),
        ];
        let merged = Tags::of(&TableName::silver_trades(), files.iter()).finish().unwrap();
        let all = add(&["5", "9", "x-1-3", "2", "6", "b", "x-1-1", "a", "c"], 9);
        assert_eq!(merged, all.tags.unwrap());
    }

    #[test]
    fn tags_that_differ_are_dropped() {
        let (one, mut other) = (add(&["1"], 1), add(&["2"], 1));
        other
            .tags
            .as_mut()
            .unwrap()
            .insert("level".to_owned(), Some("2".to_owned()));
        assert_eq!(
            Tags::of(&TableName::bronze_trades(), [&one, &other].into_iter()).finish(),
            None
        );
        let same = Tags::of(&TableName::bronze_trades(), [&one, &one].into_iter())
            .finish()
            .unwrap();
        assert_eq!(same.len(), 1);
    }

    #[test]
    fn records_of_all_files_are_told_of_the_merged_one() {
        let add = |topic: &str, from, to, rows| {
            let mut add = Add::default();
            let range = OffsetRange {
                topic_id: topic.to_owned(),
                partition: 0,
                from,
                to,
                rows,
            };
            offset_ranges::put(&mut add, &[range]);
            add
        };
        let files = [add("t", 5, 9, 4), add("file:ab", 1, 3, 2), add("t", 0, 5, 4)];
        let bronze = TableName::bronze_trades();
        let merged = Add {
            tags: Tags::of(&bronze, files.iter()).finish(),
            ..Add::default()
        };
        let expected: Vec<_> = [add("file:ab", 1, 3, 2), add("t", 0, 9, 8)]
            .iter()
            .flat_map(|add| offset_ranges::read(add).unwrap())
            .collect();
        assert_eq!(offset_ranges::read(&merged), Some(expected));
        let untold = Add::default();
        assert_eq!(Tags::of(&bronze, files.iter().chain([&untold])).finish(), None);
    }
}

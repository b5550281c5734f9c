//! What a proof found: what was counted, what must still be asked of Kafka, and each difference with its coordinates.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Name of the check, e.g. `record_missing`.
    pub check: &'static str,
    pub table: String,
    /// Where: file, topic, partition, offset, venue, symbol, window, as the check has them.
    pub at: Map<String, Value>,
    pub what: String,
}

/// Offsets between two records of a partition that neither bronze.trades nor bronze.dead_letters holds. Half-open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
}

/// One partition of a topic, or one file, above its low-water mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OriginCount {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    /// The offsets that were counted, half-open.
    pub from: i64,
    pub to: i64,
    /// Offsets of these that Kafka still holds; `None` where Kafka was not asked.
    pub in_kafka: Option<i64>,
    /// Records that Kafka has beyond bronze's position.
    pub behind: Option<i64>,
    pub bronze: u64,
    pub dead_letters: u64,
    /// Offsets without a record.
    pub holes: u64,
    /// Records of Kafka that bronze lacks.
    pub missing: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LayerCount {
    /// Rows of bronze up to the version that silver has read.
    pub bronze: u64,
    pub silver: u64,
    pub quarantine: u64,
    /// Rows that repeat one that is kept, read later or earlier than it: counted row by row in full mode, by silver's commits else.
    pub repeats: u64,
    /// The same by silver's commits; `None` where its log does not go back far enough.
    pub recorded_repeats: Option<u64>,
    /// Versions of bronze that silver has not read.
    pub behind: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BarCount {
    pub table: String,
    pub bars: u64,
    /// Sum of silver's count over the kind of trade that bars are made of.
    pub fills: i64,
    /// Sum of the bars' trade_count.
    pub trade_count: i64,
    /// Versions of silver that gold has not read.
    pub behind: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub origins: Vec<OriginCount>,
    pub layers: Option<LayerCount>,
    pub bars: Vec<BarCount>,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    /// Statements of `sql/checks/` that were run.
    pub checks: u64,
    /// Ask Kafka about these, then [`Report::settle`].
    pub missing: Vec<Missing>,
    pub differences: Vec<Difference>,
    /// Check -> differences, the unnamed ones too.
    pub counts: BTreeMap<&'static str, u64>,
    /// What limits the proof.
    pub notes: Vec<String>,
    pub elapsed: Duration,
    named: usize,
}

impl Report {
    pub fn new(named: usize) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Counts a difference that stands for `count` rows, bars or files, and names it while there is room.
    pub fn differ(&mut self, count: u64, difference: Difference) {
        let counted = self.counts.entry(difference.check).or_insert(0);
        *counted += count;
        let named = self.differences.iter().filter(|other| other.check == difference.check);
        if named.count() < self.named {
            self.differences.push(difference);
        }
    }

    /// Takes in which of the missing offsets hold a record in Kafka: they are lost, the others are holes.
    pub fn settle(&mut self, held: &[Missing]) {
        for missing in std::mem::take(&mut self.missing) {
            let lost: Vec<&Missing> = held.iter().filter(|held| held.is_within(&missing)).collect();
            let records: u64 = lost.iter().map(|lost| lost.len()).sum();
            let origin = self
                .origins
                .iter_mut()
                .find(|origin| (&origin.topic_id, origin.partition) == (&missing.topic_id, missing.partition));
            if let Some(origin) = origin {
                origin.missing += records;
                origin.holes += missing.len() - records.min(missing.len());
            }
            for lost in lost {
                self.differ(
                    lost.len(),
                    Difference {
                        check: "record_missing",
                        table: "bronze.trades".into(),
                        at: lost.at(),
                        what: format!(
                            "{} of Kafka {} neither in bronze.trades nor in bronze.dead_letters",
                            records_of(lost.len()),
                            if lost.len() == 1 { "is" } else { "are" }
                        ),
                    },
                );
            }
        }
    }

    /// Nobody was asked: what is missing may be holes or losses.
    pub fn settle_unasked(&mut self, why: &str) {
        for missing in std::mem::take(&mut self.missing) {
            self.differ(
                missing.len(),
                Difference {
                    check: "record_missing",
                    table: "bronze.trades".into(),
                    at: missing.at(),
                    what: format!(
                        "{} neither in bronze.trades nor in bronze.dead_letters; {why}",
                        offsets_of(missing.len())
                    ),
                },
            );
            let origin = self
                .origins
                .iter_mut()
                .find(|origin| (&origin.topic_id, origin.partition) == (&missing.topic_id, missing.partition));
            if let Some(origin) = origin {
                origin.missing += missing.len();
            }
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "clean": self.is_clean(),
            "differences": self.total(),
            "origins": self.origins,
            "layers": self.layers,
            "bars": self.bars,
            "files": self.files,
            "bytes": self.bytes,
            "rows": self.rows,
            "checks": self.checks,
            "counts": self.counts,
            "named": self.differences,
            "notes": self.notes,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Missing {
    pub fn len(&self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_within(&self, other: &Missing) -> bool {
        self.topic_id == other.topic_id
            && self.partition == other.partition
            && other.from <= self.from
            && self.to <= other.to
    }

    pub(super) fn at(&self) -> Map<String, Value> {
        at(&[
            ("topic", json!(self.topic)),
            ("topic_id", json!(self.topic_id)),
            ("partition", json!(self.partition)),
            ("from", json!(self.from)),
            ("to", json!(self.to)),
        ])
    }
}

/// Coordinates by name.
pub(super) fn at(pairs: &[(&str, Value)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

fn records_of(count: u64) -> String {
    if count == 1 {
        "a record".into()
    } else {
        format!("{count} records")
    }
}

fn offsets_of(count: u64) -> String {
    if count == 1 {
        "an offset that is".into()
    } else {
        format!("{count} offsets that are")
    }
}

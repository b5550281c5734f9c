//! One active data file of a table: where it lies and what its statistics promise about the columns that scans prune by.

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate};
use datafusion::common::ScalarValue;
use deltalake::kernel::Add;
use serde::Deserialize;
use serde_json::{Map, Value};
use ticklake_sql::ddl::TableSpec;

use crate::silver::ranges::{Ranges, TAG};

/// Columns whose bounds are kept; a table may have a million files, so no more than scans ask for.
const BOUNDED: [&str; 6] = ["venue", "symbol", "kind", "ts", "window_start", "date"];

/// Kinds that say something of other rows.
pub const AMENDMENTS: [&str; 2] = ["cancel", "correct"];

/// Text in file statistics is cut at some length by most writers: shorter text is whole.
const WHOLE_TEXT_BYTES: usize = 32;

/// An end of a column's range. Timestamps in microseconds, dates in days since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    Text(Box<str>),
    Micros(i64),
    Days(i32),
}

/// Least and greatest value that a column may have in a file; the truth may be narrower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub column: &'static str,
    pub min: Bound,
    pub max: Bound,
}

/// One data file. Its identity is `add.path`.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub add: Add,
    /// `None` where the statistics do not say.
    pub rows: Option<u64>,
    /// Some row may be a cancel or a correction.
    pub may_amend: bool,
    bounds: Vec<Bounds>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    num_records: Option<u64>,
    min_values: Map<String, Value>,
    max_values: Map<String, Value>,
}

impl DataFile {
    /// Unreadable statistics are none: the file is then read whenever it may matter.
    pub fn new(mut add: Add, spec: &TableSpec) -> Self {
        let stats: Stats = add
            .stats
            .take()
            .and_then(|stats| serde_json::from_str(&stats).ok())
            .unwrap_or_default();
        let mut bounds = Vec::new();
        for column in BOUNDED {
            let Ok(field) = spec.schema.field_with_name(column) else {
                continue;
            };
            let range = match add.partition_values.get(column) {
                Some(Some(text)) => partition_bound(text, field.data_type()).map(|bound| (bound.clone(), bound)),
                Some(None) => None,
                None => lower(stats.min_values.get(column), field.data_type())
                    .zip(upper(stats.max_values.get(column), field.data_type())),
            };
            bounds.extend(range.map(|(min, max)| Bounds { column, min, max }));
        }
        let mut file = Self {
            add,
            rows: stats.num_records,
            may_amend: false,
            bounds,
        };
        file.may_amend = file.holds_amendments();
        file
    }

    /// Aggregates and trades in one file bound the kinds between them: the tag knows better.
    fn holds_amendments(&self) -> bool {
        AMENDMENTS.iter().any(|kind| self.may_hold("kind", kind))
            && match self.ranges().and_then(|ranges| ranges.groups) {
                Some(groups) => groups.keys().any(|group| AMENDMENTS.contains(&&*group.kind)),
                None => true,
            }
    }

    /// The ranges of trade ids in the file, where its tag tells them.
    pub fn ranges(&self) -> Option<Ranges> {
        let tag = self.add.tags.as_ref()?.get(TAG)?.as_deref()?;
        Ranges::from_tag(tag)
    }

    pub fn bounds(&self, column: &str) -> Option<&Bounds> {
        self.bounds.iter().find(|bounds| bounds.column == column)
    }

    /// Range of a timestamp column in microseconds, both ends inclusive; everything where it is not known.
    pub fn micros(&self, column: &str) -> (i64, i64) {
        match self.bounds(column) {
            Some(Bounds {
                min: Bound::Micros(min),
                max: Bound::Micros(max),
                ..
            }) => (*min, *max),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The file may hold `text` in `column`.
    pub fn may_hold(&self, column: &str, text: &str) -> bool {
        match self.bounds(column) {
            Some(Bounds {
                min: Bound::Text(min),
                max: Bound::Text(max),
                ..
            }) => &**min <= text && text <= &**max,
            _ => true,
        }
    }
}

impl Bound {
    pub fn to_scalar(&self) -> ScalarValue {
        match self {
            Bound::Text(text) => ScalarValue::Utf8View(Some(text.to_string())),
            Bound::Micros(micros) => ScalarValue::TimestampMicrosecond(Some(*micros), Some("UTC".into())),
            Bound::Days(days) => ScalarValue::Date32(Some(*days)),
        }
    }
}

fn lower(value: Option<&Value>, data_type: &DataType) -> Option<Bound> {
    let text = value?.as_str()?;
    match data_type {
        DataType::Utf8 => Some(Bound::Text(text.into())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => micros(text).map(|(micros, _)| Bound::Micros(micros)),
        DataType::Date32 => days(text).map(Bound::Days),
        _ => None,
    }
}

/// Delta's statistics hold timestamps in milliseconds, cut off: the greatest may lie up to 999 microseconds higher.
fn upper(value: Option<&Value>, data_type: &DataType) -> Option<Bound> {
    let text = value?.as_str()?;
    match data_type {
        DataType::Utf8 if text.len() < WHOLE_TEXT_BYTES => Some(Bound::Text(text.into())),
        DataType::Timestamp(TimeUnit::Microsecond, _) => micros(text)
            .map(|(micros, is_whole)| Bound::Micros(if is_whole { micros } else { micros.saturating_add(999) })),
        DataType::Date32 => days(text).map(Bound::Days),
        _ => None,
    }
}

/// The instant, and whether the text goes down to the microsecond.
fn micros(text: &str) -> Option<(i64, bool)> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?;
    let decimals = text
        .split_once('.')
        .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    Some((instant.timestamp_micros(), decimals >= 6))
}

fn days(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

fn partition_bound(text: &str, data_type: &DataType) -> Option<Bound> {
    match data_type {
        DataType::Utf8 => Some(Bound::Text(text.into())),
        DataType::Date32 => days(text).map(Bound::Days),
        _ => None,
    }
}

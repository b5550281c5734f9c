//! A table's data files with their statistics, as one version of its log lists them.
//!
//! Bounds are kept only where they are certain: what a writer may have cut or rounded is widened or left out, because a
//! bound that is off by one digit prunes rows that exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use deltalake::kernel::Add;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// Delta writers cut text bounds at 32 characters: a longer one is no bound of ours.
const MAX_TEXT_CHARS: usize = 31;
/// Digits that survive a writer's detour over a double.
const SAFE_DIGITS: usize = 15;

/// Column order of a scan: the columns in the files, then the partition columns.
#[derive(Debug)]
pub struct Columns {
    pub file_schema: SchemaRef,
    pub partition: Vec<FieldRef>,
    /// Path of the table below the lake.
    pub root: String,
}

#[derive(Debug)]
pub struct DataFile {
    /// As in the log, decoded: what a Remove names.
    pub path: Arc<str>,
    pub file: PartitionedFile,
    pub rows: Option<usize>,
    /// In scan order: the bounds in `file.statistics` are values that rows have, not merely around them.
    pub tight: Vec<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    num_records: Option<usize>,
    #[serde(borrow, default)]
    min_values: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    max_values: HashMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    null_count: HashMap<Cow<'a, str>, &'a RawValue>,
}

impl DataFile {
    pub fn from_add(add: &Add, columns: &Columns) -> Result<Self> {
        if add.deletion_vector.is_some() {
            return Err(Error::Unsupported(format!(
                "file {} has a deletion vector; rewrite the table without",
                add.path
            )));
        }
        let size =
            u64::try_from(add.size).map_err(|_| Error::Store(format!("file {} has a negative size", add.path)))?;
        let values = columns
            .partition
            .iter()
            .map(|field| partition_value(field, add))
            .collect::<Result<Vec<_>>>()?;
        let (statistics, rows, mut tight) = statistics(add.stats.as_deref(), &columns.file_schema, size);
        tight.extend(values.iter().map(|v| !v.is_null()));
        let mut file = PartitionedFile::new(String::new(), size);
        file.object_meta.location = object_store_path(&columns.root, &add.path)?;
        file.object_meta.last_modified =
            chrono::DateTime::from_timestamp_millis(add.modification_time).unwrap_or_default();
        let file = file.with_partition_values(values).with_statistics(Arc::new(statistics));
        Ok(Self {
            path: add.path.as_str().into(),
            file,
            rows,
            tight,
        })
    }
}

fn object_store_path(root: &str, path: &str) -> Result<deltalake::Path> {
    deltalake::Path::parse(format!("{root}/{path}")).map_err(|e| Error::Store(format!("data file {path}: {e}")))
}

fn partition_value(field: &FieldRef, add: &Add) -> Result<ScalarValue> {
    let text = add.partition_values.get(field.name()).cloned().flatten();
    let bad = |_| {
        Error::Store(format!(
            "file {} has no readable {} in its partition",
            add.path,
            field.name()
        ))
    };
    match text {
        Some(text) => ScalarValue::try_from_string(text, field.data_type()).map_err(bad),
        None => ScalarValue::try_from(field.data_type()).map_err(bad),
    }
}

fn statistics(json: Option<&str>, schema: &Schema, size: u64) -> (Statistics, Option<usize>, Vec<bool>) {
    let mut statistics = Statistics::new_unknown(schema);
    statistics.total_byte_size = usize::try_from(size).map_or(Precision::Absent, Precision::Inexact);
    let mut tight = vec![false; schema.fields().len()];
    let Some(stats) = json.and_then(|json| serde_json::from_str::<Stats<'_>>(json).ok()) else {
        return (statistics, None, tight);
    };
    if let Some(rows) = stats.num_records {
        statistics.num_rows = Precision::Exact(rows);
    }
    for (i, field) in schema.fields().iter().enumerate() {
        let column = &mut statistics.column_statistics[i];
        if let Some(nulls) = stats
            .null_count
            .get(field.name().as_str())
            .and_then(|raw| raw.get().parse().ok())
        {
            column.null_count = Precision::Exact(nulls);
        }
        let min = stats
            .min_values
            .get(field.name().as_str())
            .and_then(|raw| bound(raw, field.data_type(), false));
        let max = stats
            .max_values
            .get(field.name().as_str())
            .and_then(|raw| bound(raw, field.data_type(), true));
        // One bound alone is of little use, and both together are what the scan's constant folding reads.
        if let (Some((min, min_tight)), Some((max, max_tight))) = (min, max) {
            tight[i] = min_tight && max_tight;
            set_bounds(column, min, max);
        }
    }
    (statistics, stats.num_records, tight)
}

/// DataFusion prunes by exact bounds only, so certain bounds are told as exact; `tight` says which ones are values too.
fn set_bounds(column: &mut ColumnStatistics, min: ScalarValue, max: ScalarValue) {
    column.min_value = Precision::Exact(min);
    column.max_value = Precision::Exact(max);
}

/// The bound as a value of the column's type, and whether a row has just that value.
fn bound(raw: &RawValue, data_type: &DataType, upper: bool) -> Option<(ScalarValue, bool)> {
    match data_type {
        DataType::Utf8 => {
            let text: String = serde_json::from_str(raw.get()).ok()?;
            (text.chars().count() <= MAX_TEXT_CHARS).then(|| (ScalarValue::Utf8(Some(text)), true))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let text: String = serde_json::from_str(raw.get()).ok()?;
            let us = chrono::DateTime::parse_from_rfc3339(&text).ok()?.timestamp_micros();
            // Some writers cut at milliseconds: the greatest value is then up to 999 us later.
            let cut = text
                .split_once('.')
                .is_none_or(|(_, f)| f.chars().take_while(char::is_ascii_digit).count() < 6);
            let us = if cut && upper { us.checked_add(999)? } else { us };
            Some((ScalarValue::TimestampMicrosecond(Some(us), zone.clone()), !cut))
        }
        DataType::Decimal128(precision, scale) => decimal_bound(raw.get().trim_matches('"'), *precision, *scale, upper),
        DataType::Date32 => {
            let text: String = serde_json::from_str(raw.get()).ok()?;
            Some((cast(&text, data_type)?, true))
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Some((cast(raw.get(), data_type)?, true))
        }
        _ => None,
    }
}

fn decimal_bound(text: &str, precision: u8, scale: i8, upper: bool) -> Option<(ScalarValue, bool)> {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0')
    } else {
        mantissa
    };
    let significant = mantissa
        .chars()
        .filter(char::is_ascii_digit)
        .skip_while(|d| *d == '0')
        .count();
    let value = match cast(text, &DataType::Decimal128(precision, scale))? {
        ScalarValue::Decimal128(Some(value), _, _) => value,
        _ => return None,
    };
    if significant <= SAFE_DIGITS {
        return Some((ScalarValue::Decimal128(Some(value), precision, scale), true));
    }
    let slack = value.unsigned_abs() / 1_000_000_000_000_000 + 1;
    let slack = i128::try_from(slack).ok()?;
    let value = if upper {
        value.checked_add(slack)?
    } else {
        value.checked_sub(slack)?
    };
    Some((ScalarValue::Decimal128(Some(value), precision, scale), false))
}

fn cast(text: &str, to: &DataType) -> Option<ScalarValue> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let array = cast_with_options(
        &array,
        to,
        &CastOptions {
            safe: false,
            ..Default::default()
        },
    )
    .ok()?;
    (!array.is_null(0))
        .then(|| ScalarValue::try_from_array(&array, 0).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn columns() -> Columns {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Columns {
            file_schema: Arc::new(Schema::new(vec![
                Field::new("symbol", DataType::Utf8, false),
                Field::new("ts", utc, false),
                Field::new("price", DataType::Decimal128(28, 12), false),
                Field::new("seq", DataType::Int64, false),
            ])),
            partition: vec![Arc::new(Field::new("date", DataType::Date32, false))],
            root: "silver/trades".into(),
        }
    }

    fn add(stats: &str) -> Add {
        Add {
            path: "date=2026-01-01/a b.parquet".into(),
            partition_values: HashMap::from([("date".into(), Some("2026-01-01".into()))]),
            size: 100,
            modification_time: 1_000,
            data_change: true,
            stats: Some(stats.into()),
            ..Default::default()
        }
    }

    fn bounds(stats: &str, column: usize) -> Option<(ScalarValue, ScalarValue, bool)> {
        let file = DataFile::from_add(&add(stats), &columns()).unwrap();
        let column_statistics = &file.file.statistics.as_ref().unwrap().column_statistics[column];
        let min = column_statistics.min_value.get_value()?.clone();
        Some((
            min,
            column_statistics.max_value.get_value()?.clone(),
            file.tight[column],
        ))
    }

    #[test]
    fn a_file_has_its_statistics_and_partition() {
        let stats = r#"{"numRecords":3,"minValues":{"symbol":"A","seq":1},"maxValues":{"symbol":"B","seq":9},"nullCount":{"symbol":0}}"#;
        let file = DataFile::from_add(&add(stats), &columns()).unwrap();
        assert_eq!(file.rows, Some(3));
        assert_eq!(
            file.file.object_meta.location.as_ref(),
            "silver/trades/date=2026-01-01/a b.parquet"
        );
        assert_eq!(file.file.partition_values, vec![ScalarValue::Date32(Some(20_454))]);
        assert_eq!(
            bounds(stats, 3),
            Some((ScalarValue::Int64(Some(1)), ScalarValue::Int64(Some(9)), true))
        );
        assert!(bounds(stats, 4).unwrap().2);
        assert_eq!(bounds(stats, 1), None);
    }

    #[test]
    fn long_text_is_no_bound() {
        let long = "x".repeat(32);
        let stats = format!(r#"{{"numRecords":1,"minValues":{{"symbol":"a"}},"maxValues":{{"symbol":"{long}"}}}}"#);
        assert_eq!(bounds(&stats, 0), None);
    }

    #[test]
    fn a_timestamp_cut_at_milliseconds_is_widened() {
        let utc = |us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
        let cut = r#"{"minValues":{"ts":"1970-01-01T00:00:00.001Z"},"maxValues":{"ts":"1970-01-01T00:00:00.002Z"}}"#;
        assert_eq!(bounds(cut, 1), Some((utc(1_000), utc(2_999), false)));
        let full =
            r#"{"minValues":{"ts":"1970-01-01T00:00:00.000001Z"},"maxValues":{"ts":"1970-01-01T00:00:00.000002Z"}}"#;
        assert_eq!(bounds(full, 1), Some((utc(1), utc(2), true)));
    }

    #[test]
    fn decimals_are_read_as_text_and_widened_where_rounded() {
        let decimal = |v| ScalarValue::Decimal128(Some(v), 28, 12);
        let exact = r#"{"minValues":{"price":64231.120000000000},"maxValues":{"price":64231.13}}"#;
        assert_eq!(
            bounds(exact, 2),
            Some((decimal(64_231_120_000_000_000), decimal(64_231_130_000_000_000), true))
        );
        let rounded = r#"{"minValues":{"price":1234567890123.456789},"maxValues":{"price":1234567890123.456789}}"#;
        let (min, max, tight) = bounds(rounded, 2).unwrap();
        assert!(min < decimal(1_234_567_890_123_456_789_000_000) && !tight);
        assert!(max > decimal(1_234_567_890_123_456_789_000_000));
    }

    #[test]
    fn a_file_without_statistics_is_read_anyway() {
        let mut add = add("{not json");
        assert_eq!(DataFile::from_add(&add, &columns()).unwrap().rows, None);
        add.stats = None;
        assert_eq!(DataFile::from_add(&add, &columns()).unwrap().rows, None);
    }
}

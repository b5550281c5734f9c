//! The log against the footers: rows, nulls and bounds of an Add against what the file itself counted. A bound may be wider than the truth,
//! never narrower: readers skip files by it.

use std::cmp::Ordering;

use arrow::datatypes::DataType;
use deltalake::kernel::Add;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value};
use ticklake_sql::{Table, data_file};

use super::files::{Shared, differ, file_at};
use super::report::Difference;

/// Names what the Add says wrongly about its file.
pub fn check(table: &Table, add: &Add, footer: &ParquetMetaData, report: &Shared) {
    let rows = u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0);
    let name = |check, column: Option<&str>, what: String| {
        let mut at = file_at(table, &add.path);
        at.extend(column.map(|column| ("column".to_owned(), Value::from(column))));
        let table = table.name().to_string();
        differ(report, 1, Difference { check, table, at, what });
    };
    let recorded: Option<Value> = add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok());
    let Some(recorded) = recorded else {
        return name("statistics", None, "its Add has no statistics".into());
    };
    match recorded.get("numRecords").and_then(Value::as_u64) {
        Some(told) if told == rows => {}
        Some(told) => name(
            "row_count",
            None,
            format!("the file holds {rows} rows, its Add says {told}"),
        ),
        None => name(
            "row_count",
            None,
            format!("the file holds {rows} rows, its Add does not say"),
        ),
    }
    let schema = table.spec().file_schema();
    let truth: Value = serde_json::from_str(&data_file::statistics(&schema, footer)).unwrap_or_default();
    for field in schema.fields() {
        let (column, data_type) = (field.name().as_str(), field.data_type());
        let of = |stats: &Value, key: &str| stats.get(key).and_then(|values| values.get(column)).cloned();
        for (key, wrong) in [("minValues", Ordering::Greater), ("maxValues", Ordering::Less)] {
            let (Some(told), Some(is)) = (of(&recorded, key), of(&truth, key)) else {
                continue;
            };
            if told != is && compare(&told, &is, data_type) == Some(wrong) {
                let end = if key == "minValues" { "least" } else { "greatest" };
                name(
                    "statistics",
                    Some(column),
                    format!("its {end} value is {is}, its Add says {told}"),
                );
            }
        }
        if let (Some(told), Some(is)) = (of(&recorded, "nullCount"), of(&truth, "nullCount"))
            && told != is
        {
            name(
                "statistics",
                Some(column),
                format!("{is} of its rows are NULL, its Add says {told}"),
            );
        }
    }
    for key in ["minValues", "maxValues", "nullCount"] {
        let named = recorded.get(key).and_then(Value::as_object).map(Map::keys);
        for column in named
            .into_iter()
            .flatten()
            .filter(|column| schema.field_with_name(column).is_err())
        {
            name(
                "statistics",
                Some(column),
                "its Add has statistics of a column that the table does not have".into(),
            );
        }
    }
}

fn compare(told: &Value, is: &Value, data_type: &DataType) -> Option<Ordering> {
    match data_type {
        DataType::Int32 | DataType::Int64 => Some(told.as_i64()?.cmp(&is.as_i64()?)),
        DataType::Decimal128(..) => told.as_f64()?.partial_cmp(&is.as_f64()?),
        DataType::Timestamp(..) => {
            let time = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok();
            Some(time(told)?.cmp(&time(is)?))
        }
        _ => Some(told.as_str()?.cmp(is.as_str()?)),
    }
}

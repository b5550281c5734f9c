//! Statistics never lie: minimum at or below the truth, maximum at or above it, nulls and rows exact.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{concat_batches, max, max_string, min, min_string};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::file::metadata::ParquetMetaDataReader;
use proptest::prelude::*;
use serde_json::value::RawValue;
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Table, TableName, decimal, tables};

use crate::faulty_store::FaultyStore;
use crate::rows::{batch, clock, partition};

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: usize,
    min_values: HashMap<String, Box<RawValue>>,
    max_values: HashMap<String, Box<RawValue>>,
    null_count: HashMap<String, usize>,
}

async fn stats(table: &Table, batches: Vec<RecordBatch>, row_group_rows: usize) -> Stats {
    let options = FileOptions {
        row_group_rows,
        ..Default::default()
    };
    let add = data_file::write(table, partition(table.spec()), batches, options)
        .await
        .unwrap();
    serde_json::from_str(&add.stats.unwrap()).unwrap()
}

fn check(stats: &Stats, rows: &RecordBatch) {
    assert_eq!(stats.num_records, rows.num_rows());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let name = field.name().as_str();
        let bounds = stats
            .min_values
            .get(name)
            .map(|min| (min.get(), stats.max_values[name].get()));
        if matches!(field.data_type(), DataType::List(_)) {
            assert!(bounds.is_none() && !stats.null_count.contains_key(name));
            continue;
        }
        assert_eq!(stats.null_count[name], column.null_count(), "{name}");
        let bounded =
            !matches!(field.data_type(), DataType::Binary | DataType::Boolean) && column.null_count() < rows.num_rows();
        assert_eq!(bounds.is_some(), bounded, "{name}");
        let Some((low, high)) = bounds else { continue };
        let text = |json: &str| serde_json::from_str::<String>(json).unwrap();
        let int = |json: &str| json.parse::<i64>().unwrap();
        match field.data_type() {
            DataType::Int32 => {
                let column = column.as_primitive::<Int32Type>();
                assert_eq!(
                    (int(low), int(high)),
                    (min(column).unwrap().into(), max(column).unwrap().into())
                );
            }
            DataType::Int64 => {
                let column = column.as_primitive::<Int64Type>();
                assert_eq!((int(low), int(high)), (min(column).unwrap(), max(column).unwrap()));
            }
            DataType::Date32 => {
                let column = column.as_primitive::<Date32Type>();
                let days = |json| text(json).parse::<chrono::NaiveDate>().unwrap().to_epoch_days();
                assert_eq!((days(low), days(high)), (min(column).unwrap(), max(column).unwrap()));
            }
            DataType::Decimal128(precision, scale) => {
                let column = column.as_primitive::<Decimal128Type>();
                let exact = |json| decimal::parse(json, *precision, *scale as u8).unwrap();
                assert_eq!((exact(low), exact(high)), (min(column).unwrap(), max(column).unwrap()));
            }
            DataType::Timestamp(..) => {
                let column = column.as_primitive::<TimestampMicrosecondType>();
                let us = |json| {
                    chrono::DateTime::parse_from_rfc3339(&text(json))
                        .unwrap()
                        .timestamp_micros()
                };
                let (least, greatest) = (min(column).unwrap(), max(column).unwrap());
                assert!((0..1000).contains(&(least - us(low))), "{name}: {least} {low}");
                assert!((0..1000).contains(&(us(high) - greatest)), "{name}: {greatest} {high}");
            }
            DataType::Utf8 => {
                let column = column.as_string::<i32>();
                assert!(
                    text(low).as_str() <= min_string(column).unwrap() && text(low).chars().count() <= 32,
                    "{name}"
                );
                assert!(text(high).as_str() >= max_string(column).unwrap(), "{name}: {high}");
                assert!(max_string(column).unwrap().chars().count() > 32 || text(high) == max_string(column).unwrap());
            }
            other => panic!("{name} has the type {other}"),
        }
    }
}

/// Whoever opens the file can hold its Add against it. Nulls of columns without statistics (payloads) are known to the writer alone.
async fn assert_footer_says_the_same(table: &Table, batches: Vec<RecordBatch>, row_group_rows: usize) {
    let options = FileOptions {
        row_group_rows,
        ..Default::default()
    };
    let add = data_file::write(table, partition(table.spec()), batches, options)
        .await
        .unwrap();
    let store = table.log_store().object_store(None);
    let bytes = store
        .get(&Path::parse(&add.path).unwrap())
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let told: serde_json::Value = serde_json::from_str(&add.stats.unwrap()).unwrap();
    let read: serde_json::Value =
        serde_json::from_str(&data_file::statistics(&table.spec().file_schema(), &footer)).unwrap();
    for key in ["numRecords", "minValues", "maxValues"] {
        assert_eq!(told[key], read[key], "{key}");
    }
    for (column, nulls) in read["nullCount"].as_object().unwrap() {
        assert_eq!(told["nullCount"][column], *nulls, "{column}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bounds_hold_for_any_rows(seed in any::<u64>(), sizes in proptest::collection::vec(1usize..40, 1..4), row_group_rows in 1usize..50) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lake = FaultyStore::new().lake(clock());
            for name in tables::fixed().into_iter().chain([TableName::gold_ohlcv("1m")]) {
                let table = lake.create_table(&name).await.unwrap();
                let batches: Vec<_> = sizes.iter().enumerate().map(|(i, rows)| batch(table.spec(), seed.wrapping_add(i as u64), *rows)).collect();
                let rows = concat_batches(&batches[0].schema(), &batches).unwrap();
                check(&stats(&table, batches.clone(), row_group_rows).await, &rows);
                assert_footer_says_the_same(&table, batches, row_group_rows).await;
            }
        });
    }
}

#[tokio::test]
async fn a_time_that_readers_cannot_parse_leaves_its_column_without_bounds() {
    let lake = FaultyStore::new().lake(clock());
    let table = lake.create_table(&TableName::silver_trades()).await.unwrap();
    let rows = batch(table.spec(), 1, 4);
    let mut columns = rows.columns().to_vec();
    let ts = rows.schema().index_of("ts").unwrap();
    let beyond = vec![0, 400_000_000_000_000_000, i64::MAX, i64::MIN];
    columns[ts] = std::sync::Arc::new(arrow::array::TimestampMicrosecondArray::from(beyond).with_timezone("UTC"));
    let found = stats(&table, vec![RecordBatch::try_new(rows.schema(), columns).unwrap()], 10).await;
    assert!(!found.min_values.contains_key("ts") && !found.max_values.contains_key("ts"));
    assert_eq!(found.null_count["ts"], 0);
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused() {
    let lake = FaultyStore::new().lake(clock());
    let table = lake.create_table(&TableName::silver_trades()).await.unwrap();
    let other = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let write = |batches| data_file::write(&table, partition(table.spec()), batches, FileOptions::default());
    assert!(
        write(vec![batch(other.spec(), 1, 1)])
            .await
            .unwrap_err()
            .to_string()
            .contains("do not fit")
    );
    assert!(
        write(vec![])
            .await
            .unwrap_err()
            .to_string()
            .contains("at least one row")
    );
    let none = data_file::write(
        &table,
        Default::default(),
        vec![batch(table.spec(), 1, 1)],
        FileOptions::default(),
    )
    .await;
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("needs the partition values date")
    );
}

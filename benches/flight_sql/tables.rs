//! The tables that the figures are taken on: silver in files of a million rows, a month of bars in a file a day and in a file an hour.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Lake, TableName};

pub const SYMBOLS: i64 = 50;
pub const DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
const FILE_ROWS: i64 = 1_000_000;

/// Silver in files of a million rows sorted by symbol and time; a month of bars, in a file a day and in a file an hour.
pub async fn fill(lake: &Lake, rows: i64) {
    let mut from = 0;
    while from < rows {
        let to = (from + FILE_ROWS).min(rows);
        add(
            lake,
            &TableName::silver_trades(),
            0,
            &mut |i| (i * SYMBOLS / FILE_ROWS, i * 1_000),
            0..to - from,
            from,
        )
        .await;
        from = to;
    }
    for day in 0..DAYS {
        // Sorted by symbol, then window: 1,440 minutes of each symbol.
        let by_day = &mut |i| (i / 1_440, day * DAY_US + i % 1_440 * 60_000_000);
        add(lake, &TableName::gold_ohlcv("1m"), day, by_day, 0..SYMBOLS * 1_440, 0).await;
        for hour in 0..24 {
            let by_hour = &mut |i| (i / 12, day * DAY_US + hour * 3_600_000_000 + i % 12 * 300_000_000);
            add(lake, &TableName::gold_ohlcv("5m"), day, by_hour, 0..SYMBOLS * 12, 0).await;
        }
    }
}

/// One file of one partition: row `i` is of the symbol and at the offset that `place` says.
async fn add(
    lake: &Lake,
    name: &TableName,
    day: i64,
    place: &mut dyn FnMut(i64) -> (i64, i64),
    range: std::ops::Range<i64>,
    id_from: i64,
) {
    let table = lake.create_table(name).await.unwrap();
    let places: Vec<_> = range.map(|i| (i + id_from, place(i))).collect();
    let batches = places
        .chunks(65_536)
        .map(|chunk| batch(&table.spec().file_schema(), chunk))
        .collect();
    let date = chrono::DateTime::from_timestamp_micros(START_US + day * DAY_US).unwrap();
    let partition = BTreeMap::from([("date".to_owned(), date.format("%Y-%m-%d").to_string())]);
    let add = data_file::write(&table, partition, batches, FileOptions::default())
        .await
        .unwrap();
    let mut committer = Committer::open(&table).await.unwrap();
    committer
        .commit(Commit {
            operation: "WRITE".into(),
            adds: vec![add],
            ..Default::default()
        })
        .await
        .unwrap();
}

fn batch(schema: &SchemaRef, rows: &[(i64, (i64, i64))]) -> RecordBatch {
    let random = |i: i64, salt: i64| ((i ^ salt).wrapping_mul(6_364_136_223_846_793_005) >> 33) & 0xffff;
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match (field.name().as_str(), field.data_type()) {
                ("symbol", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(_, (s, _))| format!("S{s:02}-USDT")),
                )),
                ("venue", _) => Arc::new(StringArray::from(vec!["sim"; rows.len()])),
                ("side", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter()
                        .map(|(i, _)| if random(*i, 3) % 2 == 0 { "buy" } else { "sell" }),
                )),
                ("trade_id", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(i, _)| format!("{}", 4_839_201_000 + i)),
                )),
                ("kind", _) => Arc::new(StringArray::from(vec!["trade"; rows.len()])),
                ("source", _) => Arc::new(StringArray::from(vec!["live"; rows.len()])),
                ("origin", _) => Arc::new(StringArray::from(vec!["kafka"; rows.len()])),
                ("topic", _) => Arc::new(StringArray::from(vec!["trades"; rows.len()])),
                ("ref_trade_id" | "first_id" | "last_id" | "conditions", data_type) => {
                    new_null_array(data_type, rows.len())
                }
                (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(rows.iter().map(|(i, _)| *i))),
                (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values(
                    rows.iter().map(|(i, _)| (random(*i, 5) % 10) as i32),
                )),
                (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![true; rows.len()])),
                (_, DataType::Timestamp(_, _)) => {
                    let ts = rows.iter().map(|(_, (_, offset))| START_US + offset);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC"))
                }
                (_, DataType::Decimal128(p, s)) => {
                    let one = 10i128.pow(*s as u32 - 4);
                    let values = rows.iter().map(|(i, _)| i128::from(640_000_000 + random(*i, 7)) * one);
                    Arc::new(
                        Decimal128Array::from_iter_values(values)
                            .with_precision_and_scale(*p, *s)
                            .unwrap(),
                    )
                }
                (name, other) => panic!("{name} {other}"),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

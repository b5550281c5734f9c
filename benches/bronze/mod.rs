//! Bronze trades of one day for benches of what reads them: ids that grow by one, ten symbols, 4 ms apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use ticklake_sql::Table;
use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::data_file::{self, FileOptions};

/// 2025-01-01T00:00:00Z, microseconds.
pub const START_US: i64 = 1_735_689_600_000_000;
pub const DAY_US: i64 = 86_400_000_000;
const SYMBOLS: [&str; 10] = [
    "ADA-USDT",
    "AVAX-USDT",
    "BNB-USDT",
    "BTC-USDT",
    "DOGE-USDT",
    "ETH-USDT",
    "LINK-USDT",
    "SOL-USDT",
    "TRX-USDT",
    "XRP-USDT",
];
/// One commit of bronze with `count` trades, whose ids are `from` and on.
pub async fn land(bronze: &Table, committer: &mut Committer, start_us: i64, from: i64, count: i64) {
    let partition = BTreeMap::from([("ingest_date".to_owned(), "2025-01-02".to_owned())]);
    let rows = trades(bronze, start_us, from, count);
    let add = data_file::write(bronze, partition, vec![rows], FileOptions::default())
        .await
        .unwrap();
    let commit = Commit {
        operation: "WRITE".into(),
        adds: vec![add],
        ..Commit::default()
    };
    assert!(matches!(
        committer.commit(commit).await.unwrap(),
        Outcome::Committed { .. }
    ));
}

fn trades(bronze: &Table, start_us: i64, from: i64, count: i64) -> RecordBatch {
    let ids = from..from + count;
    let text =
        |text: &dyn Fn(i64) -> String| Arc::new(StringArray::from_iter_values(ids.clone().map(text))) as ArrayRef;
    let same = |value: &str| text(&|_| value.to_owned());
    // 4 ms apart, around the clock: 21,600,000 trades fill a day.
    let time = |delay_us: i64| {
        let times = ids.clone().map(|id| start_us + id * 4_000 % DAY_US + delay_us);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")) as ArrayRef
    };
    let schema = bronze.spec().file_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "origin" => same("kafka"),
        "topic" => same("trades"),
        "partition" => Arc::new(Int32Array::from_iter_values(ids.clone().map(|id| (id % 10) as i32))) as ArrayRef,
        "offset" | "seq" => Arc::new(Int64Array::from_iter_values(ids.clone())),
        "payload" => Arc::new(BinaryArray::from_iter_values(ids.clone().map(|_| b"{}"))),
        "venue" => same("binance-spot"),
        "symbol" => text(&|id| SYMBOLS[(id % 10) as usize].to_owned()),
        "kind" => same("trade"),
        "trade_id" => text(&|id| id.to_string()),
        "price" => text(&|id| format!("{}.{:02}", 64_000 + id % 500, id % 100)),
        "qty" => text(&|id| format!("0.{:08}", 1 + id % 99_999_999)),
        "side" => text(&|id| if id % 3 == 0 { "buy" } else { "sell" }.to_owned()),
        "ts" => time(0),
        "received_at" => time(20_000),
        "source" => same("live"),
        "count" => Arc::new(Int64Array::from_iter_values(ids.clone().map(|_| 1))),
        "ingested_at" => time(500_000),
        _ => new_null_array(field.data_type(), ids.clone().count()),
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

//! What a refresh of silver costs: a backlog from nothing, then 1,000 new trades at a time on an empty date and on the date that the backlog
//! filled. One JSON line a figure.
//!
//! `cargo bench --workspace --bench silver_refresh`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_RUNS (100 refreshes).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, Table, TableName};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2025-01-01T00:00:00Z, microseconds.
const START_US: i64 = 1_735_689_600_000_000;
const DAY_US: i64 = 86_400_000_000;
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
/// Rows of one bronze commit of the backlog.
const COMMIT_ROWS: i64 = 250_000;
const NEW_ROWS: i64 = 1_000;

fn main() {
    let setting = |name: &str, usual: i64| std::env::var(name).map_or(usual, |value| value.parse().unwrap());
    let rows = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let runs = setting("TICKLAKE_BENCH_RUNS", 100);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench(rows, runs));
}

async fn bench(rows: i64, runs: i64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    let lake = Lake::open(folder.path().to_str().unwrap(), options, Clock::system()).unwrap();
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let mut committer = Committer::open(&bronze).await.unwrap();
    let mut silver = Silver::open(lake, SilverOptions::default()).await.unwrap();

    let empty = new_trades(&bronze, &mut committer, &mut silver, START_US - DAY_US, 1 << 40, runs).await;
    for from in (0..rows).step_by(COMMIT_ROWS as usize) {
        let count = COMMIT_ROWS.min(rows - from);
        land(&bronze, &mut committer, START_US, from, count).await;
    }
    let started = Instant::now();
    let report = silver.refresh().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"figure\":\"silver_backlog\",\"rows\":{rows},\"seconds\":{seconds:.2},\"rows_per_s\":{:.0},\"commits\":{}}}",
        report.rows_in as f64 / seconds,
        report.commits
    );
    let full = new_trades(&bronze, &mut committer, &mut silver, START_US, rows, runs).await;
    println!(
        "{{\"figure\":\"silver_refresh\",\"new_rows\":{NEW_ROWS},\"date_rows\":{rows},\"empty_date_ms\":{empty:.2},\"full_date_ms\":{full:.2},\"ratio\":{:.2}}}",
        full / empty
    );
}

/// Median milliseconds of a refresh after `NEW_ROWS` more trades on the date of `start_us`.
async fn new_trades(
    bronze: &Table,
    committer: &mut Committer,
    silver: &mut Silver,
    start_us: i64,
    first_id: i64,
    runs: i64,
) -> f64 {
    let mut millis = Vec::new();
    for run in 0..runs {
        land(bronze, committer, start_us, first_id + run * NEW_ROWS, NEW_ROWS).await;
        let started = Instant::now();
        let report = silver.refresh().await.unwrap();
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(report.rows_out, NEW_ROWS as u64);
    }
    millis.sort_by(f64::total_cmp);
    millis[millis.len() / 2]
}

/// One commit of bronze with `count` trades, whose ids are `from` and on.
async fn land(bronze: &Table, committer: &mut Committer, start_us: i64, from: i64, count: i64) {
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

//! Backfill as a library: every container and format gives the same silver, a stopped load goes on, live ingest is not in its way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use ticklake_engine::backfill::{self, BackfillOptions, BackfillReport, Outcome, Progress};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::commit::{Commit, Committer, Txn};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, TableName};
use tokio_util::sync::CancellationToken;

const START_US: i64 = 1_735_689_600_000_000;
const ROWS: i64 = 5_000;

struct TestLake {
    lake: Lake,
    folder: tempfile::TempDir,
}

impl TestLake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LakeOptions {
            durability: Durability::Os,
            ..LakeOptions::default()
        };
        let uri = folder.path().join("lake");
        let lake = Lake::open(uri.to_str().unwrap(), options, Clock::system()).unwrap();
        Self { lake, folder }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn rows(&self, table: &TableName) -> RecordBatch {
        let table = self.lake.table(table).await.unwrap();
        let delta = table.load(None).await.unwrap();
        let context = datafusion::prelude::SessionContext::new();
        let rows = context.read_table(delta.table_provider().await.unwrap()).unwrap();
        let schema = Arc::new(rows.schema().as_arrow().clone());
        arrow::compute::concat_batches(&schema, &rows.collect().await.unwrap()).unwrap()
    }
}

fn options(format: &str, paths: &[&Path]) -> BackfillOptions {
    BackfillOptions {
        paths: paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        format: Some(format.into()),
        slice_bytes: 64 << 10,
        ..BackfillOptions::default()
    }
}

async fn load(lake: &TestLake, options: BackfillOptions) -> BackfillReport {
    let progress = Arc::new(Progress::default());
    backfill::run(&lake.lake, options, progress.clone(), CancellationToken::new())
        .await
        .unwrap()
}

fn price(row: i64) -> i128 {
    // Twelve decimals.
    i128::from(100_000_000 + row * 7919 % 1000) * 10_000_000_000
}

fn csv() -> String {
    let mut text = "venue,symbol,trade_id,seq,price,qty,side,ts\n".to_owned();
    for row in 0..ROWS {
        let (cents, ts) = (100_000_000 + row * 7919 % 1000, START_US + row * 1_000);
        let side = ["buy", "sell"][row as usize % 2];
        writeln!(
            text,
            "v,A-B,{row},{row},{}.{:02},1.5,{side},{ts}",
            cents / 100,
            cents % 100
        )
        .unwrap();
    }
    text
}

fn jsonl() -> String {
    let mut text = String::new();
    for line in csv().lines().skip(1) {
        let f: Vec<&str> = line.split(',').collect();
        let ts = chrono::DateTime::from_timestamp_micros(f[7].parse().unwrap())
            .unwrap()
            .to_rfc3339();
        writeln!(
            text,
            "{{\"venue\":\"v\",\"symbol\":\"A-B\",\"trade_id\":\"{}\",\"seq\":{},\"price\":{},\"qty\":\"1.5\",\"side\":\"{}\",\"ts\":\"{ts}\"}}",
            f[2], f[3], f[4], f[6]
        )
        .unwrap();
    }
    text
}

fn parquet() -> Vec<u8> {
    let text = |value: fn(i64) -> String| Arc::new(StringArray::from_iter_values((0..ROWS).map(value))) as ArrayRef;
    let prices = Decimal128Array::from_iter_values((0..ROWS).map(price))
        .with_precision_and_scale(28, 12)
        .unwrap();
    let times = TimestampMicrosecondArray::from_iter_values((0..ROWS).map(|row| START_US + row * 1_000));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("venue", text(|_| "v".into())),
        ("symbol", text(|_| "A-B".into())),
        ("trade_id", text(|row| row.to_string())),
        ("seq", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        ("price", Arc::new(prices)),
        ("qty", text(|_| "1.50".into())),
        ("side", text(|row| ["buy", "sell"][row as usize % 2].into())),
        ("ts", Arc::new(times.with_timezone("UTC"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_and_format_gives_the_same_silver() {
    let lake = TestLake::new();
    let text = csv();
    for (format, name, bytes) in [
        ("csv", "plain.csv", text.clone().into_bytes()),
        ("csv", "packed.csv.gz", gzipped(&text)),
        ("csv", "packed.zst", zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ("jsonl", "lines.jsonl", jsonl().into_bytes()),
        ("parquet", "rows.parquet", parquet()),
    ] {
        let path = lake.file(name, &bytes);
        let report = load(&lake, options(format, &[&path])).await;
        assert_eq!((report.rows(), report.bad()), (ROWS as u64, 0), "{name}: {report:?}");
        let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
        let refreshed = silver.refresh().await.unwrap();
        let said = (refreshed.rows_in, refreshed.quarantined);
        assert_eq!(said, (ROWS as u64, 0), "{name}");
        let rows = lake.rows(&TableName::silver_trades()).await;
        assert_eq!(rows.num_rows(), ROWS as usize, "{name}");
        let column = |name: &str| rows.column_by_name(name).unwrap();
        let (seq, prices) = (
            column("seq").as_primitive::<Int64Type>(),
            column("price").as_primitive::<Decimal128Type>(),
        );
        for (row, seq) in seq.values().iter().enumerate() {
            assert_eq!(prices.value(row), price(*seq), "{name} {seq}");
            assert_eq!(
                column("ts").as_primitive::<TimestampMicrosecondType>().value(row),
                START_US + seq * 1_000
            );
        }
    }
    let rows = lake.rows(&TableName::bronze_trades()).await;
    assert_eq!(rows.num_rows(), 5 * ROWS as usize);
    let payload = arrow::compute::cast(
        rows.column_by_name("payload").unwrap(),
        &arrow::datatypes::DataType::Utf8,
    )
    .unwrap();
    let payload = payload.as_string::<i32>();
    assert!(payload.iter().flatten().any(|line| line.starts_with("v,A-B,17,17,")));
    assert!(
        payload
            .iter()
            .flatten()
            .any(|line| line.starts_with("{\"venue\":\"v\"") && line.contains("T00:00:"))
    );
}

/// Lines of bronze and of the dead letters, sorted: each line of a file once.
async fn lines(lake: &TestLake) -> Vec<i64> {
    let mut lines = Vec::new();
    for table in [TableName::bronze_trades(), TableName::bronze_dead_letters()] {
        let rows = lake.rows(&table).await;
        lines.extend_from_slice(
            rows.column_by_name("offset")
                .unwrap()
                .as_primitive::<Int64Type>()
                .values(),
        );
    }
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_stopped_goes_on_from_its_position() {
    let lake = TestLake::new();
    // Every hundredth line is bad, so that both tables have positions.
    let mut text = String::new();
    for (number, line) in csv().lines().enumerate() {
        let line = if number % 100 == 50 { "bad" } else { line };
        writeln!(text, "{line}").unwrap();
    }
    let path = lake.file("stopped.csv", text.as_bytes());
    let mut small = options("csv", &[&path]);
    small.slice_bytes = 4 << 10;
    let mut runs = 0;
    loop {
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let run = backfill::run(&lake.lake, small.clone(), progress.clone(), stop.clone());
        let (watched, deadline) = (progress.clone(), Instant::now() + Duration::from_secs(60));
        let stopper = tokio::task::spawn_blocking(move || {
            while watched.counts().files_done == 0 && watched.counts().rows == 0 && Instant::now() < deadline {
                std::thread::yield_now();
            }
            stop.cancel();
        });
        let report = run.await.unwrap();
        stopper.await.unwrap();
        runs += 1;
        if matches!(report.files[0].outcome, Outcome::Loaded | Outcome::AlreadyLoaded) {
            assert!(runs > 2, "it was never stopped");
            break;
        }
        assert!(matches!(report.files[0].outcome, Outcome::Stopped), "{report:?}");
        // The pieces are cut anew: positions are lines, not pieces.
        small.slice_bytes += 1_111;
    }
    assert_eq!(lines(&lake).await, (2..=ROWS + 1).collect::<Vec<_>>());
    assert_eq!(lake.rows(&TableName::bronze_dead_letters()).await.num_rows(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_others_go_on_meanwhile_and_two_loads_of_one_file_exclude_each_other() {
    let lake = TestLake::new();
    let text = csv();
    let path = lake.file("shared.csv", text.as_bytes());
    let mut small = options("csv", &[&path]);
    small.slice_bytes = 4 << 10;
    let bronze = lake.lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let done = CancellationToken::new();
    let (stop, mut committer) = (done.clone(), Committer::open(&bronze).await.unwrap());
    let live = tokio::spawn(async move {
        let mut position = 0;
        while !stop.is_cancelled() {
            position += 1;
            let txns = vec![Txn {
                app_id: "live".into(),
                version: position,
            }];
            let commit = Commit {
                operation: "WRITE".into(),
                txns,
                ..Commit::default()
            };
            committer.commit(commit).await.unwrap();
        }
        position
    });
    let run = || {
        backfill::run(
            &lake.lake,
            small.clone(),
            Arc::new(Progress::default()),
            CancellationToken::new(),
        )
    };
    let (one, other) = tokio::join!(run(), run());
    let (one, other) = (one.unwrap(), other.unwrap());
    done.cancel();
    let live = live.await.unwrap();
    assert!(live > 0);
    // Whoever lost a race says so, and nothing is there twice.
    assert_eq!(load(&lake, small).await.failed().count(), 0);
    assert_eq!(
        lines(&lake).await,
        (2..=ROWS + 1).collect::<Vec<_>>(),
        "{one:?} {other:?}"
    );
    let (_, positions) = bronze.positions().await.unwrap();
    assert_eq!(positions["live"], live);
}

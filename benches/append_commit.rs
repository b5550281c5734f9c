//! How long one append's commit takes as the log grows: after 5,000 commits against after 100, checkpoints running in a task of their own.
//!
//! `cargo bench --workspace --bench append_commit`; TICKLAKE_BENCH_COMMITS (5,000), TICKLAKE_BENCH_WINDOW (200, commits that a figure is made
//! of), TICKLAKE_BENCH_CHECKPOINTS (true), TICKLAKE_BENCH_DIR. Each commit is one of ingest's: a data file of 500 rows in one partition and the positions of ten Kafka partitions.
//! Only the commit is timed, not the file before it. Commits follow one another without pause, so a checkpoint is nearly always under way: more
//! than `up` ever has at two commits a second. One process a durability, so that memory is of one run. Memory is told at ten fixed points: with
//! TICKLAKE_BENCH_COMMITS=10000 after 1,000, 2,000 ... 10,000 commits, each the median over a window from there on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, TableName, log};
use tokio::sync::oneshot;

use figures::{peak_rss_mb, quantile, rounded, rss_mb, setting};

mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EARLY: usize = 100;
/// At each tenth of the commits.
const MEMORY_POINTS: usize = 10;
const ROWS: usize = 500;
const PARTITIONS: i64 = 10;
const DATE: &str = "2026-01-05";
/// 2026-01-05T00:00:00Z.
const START_US: i64 = 1_767_571_200_000_000;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--durability");
    let durability = match arguments.nth(1).as_deref() {
        Some("os") => Durability::Os,
        Some("sync") => Durability::Sync,
        _ => return ["os", "sync"].into_iter().for_each(run_apart),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    std::fs::create_dir_all(figures::folder()).unwrap();
    let folder = tempfile::tempdir_in(figures::folder()).unwrap();
    runtime.block_on(run(folder.path(), durability));
}

fn run_apart(durability: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args(["--durability", durability]).status().unwrap();
    assert!(status.success(), "{durability}: {status}");
}

/// What the commits from `after` on took, and the memory of the process meanwhile.
struct Window {
    after: usize,
    ms: Vec<f64>,
    rss_mb: Vec<f64>,
    peak_rss_mb: Option<f64>,
}

async fn run(folder: &Path, durability: Durability) {
    let commits: usize = setting("TICKLAKE_BENCH_COMMITS", 5_000);
    let width: usize = setting("TICKLAKE_BENCH_WINDOW", 200);
    assert!(
        commits > EARLY + width,
        "TICKLAKE_BENCH_COMMITS is {commits}: the two windows overlap"
    );
    let lake = figures::lake(folder, durability);
    let table = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move {
        let _closed = stopped.await;
    };
    // A checkpoint reads the list of all files: memory of the commits alone is told without them.
    let with_checkpoints: bool = setting("TICKLAKE_BENCH_CHECKPOINTS", true);
    let checkpoints = with_checkpoints.then(|| tokio::spawn(log::keep_checkpointed(table.clone(), || None, stopped)));
    let mut committer = Committer::open(&table).await.unwrap();
    let rows = rows(&table.spec().file_schema());
    let mut windows = [EARLY, commits].map(|after| Window {
        after,
        ms: Vec::new(),
        rss_mb: Vec::new(),
        peak_rss_mb: None,
    });
    let mut memory: Vec<(usize, Vec<f64>)> = (1..=MEMORY_POINTS)
        .map(|point| (commits * point / MEMORY_POINTS, Vec::new()))
        .collect();
    for number in 0..commits + width {
        let partition = BTreeMap::from([("ingest_date".to_owned(), DATE.to_owned())]);
        let add = data_file::write(&table, partition, vec![rows.clone()], FileOptions::default())
            .await
            .unwrap();
        let commit = Commit {
            operation: "WRITE".to_owned(),
            txns: positions(number),
            adds: vec![add],
            ..Commit::default()
        };
        let began = Instant::now();
        let outcome = committer.commit(commit).await.unwrap();
        let elapsed = began.elapsed();
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        for window in &mut windows {
            if (window.after..window.after + width).contains(&number) {
                window.ms.push(elapsed.as_secs_f64() * 1e3);
                window.rss_mb.extend(rss_mb(std::process::id()));
                window.peak_rss_mb = peak_rss_mb(std::process::id());
            }
        }
        for (after, rss) in &mut memory {
            if (*after..*after + width).contains(&number) {
                rss.extend(rss_mb(std::process::id()));
            }
        }
    }
    drop(stop);
    if let Some(checkpoints) = checkpoints {
        checkpoints.await.unwrap();
    }
    report(durability, windows, &folder.join("bronze/trades/_delta_log"));
    report_memory(durability, memory, with_checkpoints);
}

fn report(durability: Durability, mut windows: [Window; 2], log: &Path) {
    let medians = windows.each_mut().map(|window| quantile(&mut window.ms, 0.5).unwrap());
    let rss = windows
        .each_mut()
        .map(|window| quantile(&mut window.rss_mb, 0.5).unwrap());
    let durability = format!("{durability:?}").to_lowercase();
    for window in &mut windows {
        figures::print(serde_json::json!({
            "bench": "append_commit", "figure": format!("after {} commits", window.after), "durability": durability, "commits": window.ms.len(),
            "median_ms": quantile(&mut window.ms, 0.5).map(rounded), "p99_ms": quantile(&mut window.ms, 0.99).map(rounded),
            "median_rss_mb": quantile(&mut window.rss_mb, 0.5), "peak_rss_mb_so_far": window.peak_rss_mb,
        }));
    }
    figures::print(serde_json::json!({
        "bench": "append_commit", "figure": "late to early", "durability": durability, "median_ratio": rounded(medians[1] / medians[0]),
        "rss_ratio": rounded(rss[1] / rss[0]), "checkpoints": checkpoints(log),
    }));
}

/// Whether memory grows with the number of commits: the last point against the first, and the highest against the lowest.
fn report_memory(durability: Durability, memory: Vec<(usize, Vec<f64>)>, with_checkpoints: bool) {
    let (after, rss): (Vec<usize>, Vec<f64>) = memory
        .into_iter()
        .map(|(after, mut rss)| (after, quantile(&mut rss, 0.5).unwrap()))
        .unzip();
    let least = rss.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = rss.iter().copied().fold(0.0, f64::max);
    figures::print(serde_json::json!({
        "bench": "append_commit", "figure": "memory", "durability": format!("{durability:?}").to_lowercase(),
        "with_checkpoints": with_checkpoints, "after_commits": after,
        "median_rss_mb": rss, "last_to_first": rounded(rss[rss.len() - 1] / rss[0]), "greatest_to_least": rounded(greatest / least),
    }));
}

fn checkpoints(log: &Path) -> usize {
    let names = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().contains(".checkpoint."))
        .count()
}

fn positions(commit: usize) -> Vec<Txn> {
    let txn = |partition| Txn {
        app_id: format!("ticklake/bronze.trades/kafka/bench-cluster/bench-topic/{partition}"),
        version: (commit as i64 + 1) * ROWS as i64 / PARTITIONS,
    };
    (0..PARTITIONS).map(txn).collect()
}

/// Rows as a busy venue's come: prices and ids differ, the rest repeats.
fn rows(schema: &SchemaRef) -> RecordBatch {
    let column = |name: &str, data_type: &DataType| -> ArrayRef {
        let texts = |text: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..ROWS).map(text)))
        };
        match (name, data_type) {
            ("record_ts" | "conditions" | "ref_trade_id" | "first_id" | "last_id", _) => {
                new_null_array(data_type, ROWS)
            }
            ("payload", _) => Arc::new(BinaryArray::from_iter_values((0..ROWS).map(payload))),
            ("symbol", _) => texts(&|row| format!("COIN{:02}-USDT", row % 50)),
            ("trade_id", _) => texts(&|row| (4_839_201 + row).to_string()),
            ("price", _) => texts(&|row| format!("64{:03}.{:02}", row * 7 % 1_000, row % 100)),
            ("qty", _) => texts(&|row| format!("0.{:08}", row * 7_919 % 100_000_000)),
            ("side", _) => texts(&|row| if row % 3 == 0 { "buy" } else { "sell" }.to_owned()),
            (_, DataType::Utf8) => texts(&|_| name.to_owned()),
            (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values((0..ROWS).map(|row| row as i32 % 10))),
            (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| row as i64))),
            (_, DataType::Timestamp(_, _)) => {
                let times = (0..ROWS).map(|row| START_US + 1_000 * row as i64);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            (name, other) => panic!("{name} {other}"),
        }
    };
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field.name(), field.data_type()));
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn payload(row: usize) -> String {
    format!(
        r#"{{"venue":"sim","symbol":"COIN{:02}-USDT","trade_id":"{}","price":"64{:03}.{:02}","qty":"0.{:08}","side":"buy"}}"#,
        row % 50,
        4_839_201 + row,
        row * 7 % 1_000,
        row % 100,
        row * 7_919 % 100_000_000,
    )
}

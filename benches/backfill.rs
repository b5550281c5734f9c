//! A zip of 20,000,000 Binance-style trades, 1.57 GB of text, to bronze and to sorted silver: one after the other, and side by side as
//! `ticklake backfill` does it; then peers made to write the same two outputs. One JSON line a figure.
//!
//! `cargo bench --workspace --bench backfill`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_RUNS (3), TICKLAKE_BENCH_DIR (the zip is kept
//! between runs), TICKLAKE_BENCH_PYTHON (one with `benches/peers/requirements.txt`). Data files and commits are synced to disk; each run is a process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use ticklake_engine::backfill::{self, BackfillOptions, Progress};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::{Durability, Lake};
use tokio_util::sync::CancellationToken;

use figures::{peak_rss_mb, rounded, setting};

mod archive;
mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;

/// Names the case that this process is to run.
const CASE: &str = "TICKLAKE_BENCH_CASE";

fn main() {
    let rows: u64 = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let runs: usize = setting("TICKLAKE_BENCH_RUNS", 3);
    let dir = figures::folder().join(format!("backfill-{rows}"));
    std::fs::create_dir_all(&dir).unwrap();
    let zip = archive::made(&dir, rows);
    if let Ok(case) = std::env::var(CASE) {
        return one(&case, &dir.join("lake"), &zip, rows);
    }
    for case in ["bronze alone", "silver from bronze", "both, as the command does"] {
        let mut lines: Vec<[f64; 2]> = (0..runs).map(|_| child(case)).collect();
        lines.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let median = lines[lines.len() / 2][0];
        let peak = lines.iter().map(|[_, peak]| *peak).fold(0.0, f64::max);
        figures::print(serde_json::json!({
            "bench": "backfill", "figure": case, "engine": "ticklake", "rows": rows, "threads": THREADS, "runs": runs,
            "median_s": rounded(median), "rows_per_s": (rows as f64 / median).round(), "peak_mb": peak,
        }));
    }
    std::fs::remove_dir_all(dir.join("lake")).unwrap();
    peers(&zip, &dir.join("peer"), runs);
}

/// Seconds and peak memory of one run, in a process of its own as the command is: what an allocator keeps of one load is not in the next.
fn child(case: &str) -> [f64; 2] {
    serde_json::from_value(figures::in_a_process([(CASE, case)])).unwrap()
}

/// Silver from bronze goes on from the lake that the bronze of the case before has left.
fn one(case: &str, lake: &Path, zip: &Path, rows: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let seconds = runtime.block_on(async {
        match case {
            "bronze alone" => bronze(lake, zip).await,
            "silver from bronze" => silver(lake, rows).await,
            _ => together(lake, zip, rows).await,
        }
    });
    println!("{}", serde_json::json!([seconds, peak_rss_mb(std::process::id())]));
}

async fn bronze(dir: &Path, zip: &Path) -> f64 {
    let started = Instant::now();
    load(&empty(dir), zip).await;
    started.elapsed().as_secs_f64()
}

/// From nothing, whatever an earlier run has made of it.
async fn silver(dir: &Path, rows: u64) -> f64 {
    for table in ["trades", "quarantine"] {
        let _none = std::fs::remove_dir_all(dir.join("silver").join(table));
    }
    let lake = figures::lake(dir, Durability::Sync);
    let started = Instant::now();
    let mut silver = Silver::open(lake, SilverOptions::default()).await.unwrap();
    assert_eq!(silver.refresh().await.unwrap().rows_out, rows);
    started.elapsed().as_secs_f64()
}

/// The peers' outputs from the same zip, where TICKLAKE_BENCH_PYTHON names a Python with `benches/peers/requirements.txt`.
fn peers(zip: &Path, folder: &Path, runs: usize) {
    if let Ok(python) = std::env::var("TICKLAKE_BENCH_PYTHON") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/backfill.py");
        let mut command = Command::new(python);
        let status = command.arg(script).arg(zip).arg(folder).arg(runs.to_string()).status();
        assert!(status.unwrap().success(), "a peer could not run");
    }
}

/// Silver follows bronze while the file is loaded; seconds of both.
async fn together(dir: &Path, zip: &Path, rows: u64) -> f64 {
    let started = Instant::now();
    let lake = empty(dir);
    let loaded = CancellationToken::new();
    let (follow, done) = (lake.clone(), loaded.clone());
    let follow = tokio::spawn(async move {
        let mut silver = Silver::open(follow, SilverOptions::default()).await.unwrap();
        let mut committed = silver.input().committed();
        let mut out = 0;
        loop {
            let last = done.is_cancelled();
            out += silver.refresh().await.unwrap().rows_out;
            if last {
                return out;
            }
            tokio::select! {
                _ = committed.changed() => {}
                () = done.cancelled() => {}
            }
        }
    });
    load(&lake, zip).await;
    loaded.cancel();
    assert_eq!(follow.await.unwrap(), rows);
    started.elapsed().as_secs_f64()
}

async fn load(lake: &Lake, zip: &Path) {
    let options = BackfillOptions {
        paths: vec![zip.to_string_lossy().into_owned()],
        format: Some("binance-trades".into()),
        encoders: THREADS,
        ..BackfillOptions::default()
    };
    let progress = Arc::new(Progress::default());
    let report = backfill::run(lake, options, progress, CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((report.bad(), report.failed().count()), (0, 0), "{report:?}");
}

fn empty(dir: &Path) -> Lake {
    let _ = std::fs::remove_dir_all(dir);
    figures::lake(dir, Durability::Sync)
}

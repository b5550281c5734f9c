//! A zip of 20,000,000 Binance-style trades, 1.57 GB of text, to bronze and to sorted silver: one after the other, and side by side as
//! `ticklake backfill` does it; then peers made to write the same two outputs. One JSON line a figure.
//!
//! `cargo bench --workspace --bench backfill`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_RUNS (3), TICKLAKE_BENCH_DIR (the zip is kept
//! between runs), TICKLAKE_BENCH_PYTHON (one with `benches/peers/requirements.txt`). Data files and commits are synced to disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use ticklake_engine::backfill::{self, BackfillOptions, Progress};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::{Durability, Lake};
use tokio_util::sync::CancellationToken;

use figures::{peak_rss_mb, quantile, rounded, setting};

mod archive;
mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;

fn main() {
    let rows: u64 = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let runs: usize = setting("TICKLAKE_BENCH_RUNS", 3);
    let dir = figures::folder().join(format!("backfill-{rows}"));
    std::fs::create_dir_all(&dir).unwrap();
    let zip = archive::made(&dir, rows);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    let (mut bronze_s, mut silver_s, mut together_s) = (Vec::new(), Vec::new(), Vec::new());
    let (mut apart_mb, mut together_mb) = (0f64, 0f64);
    for _ in 0..runs {
        figures::reset_peak();
        let [bronze, silver] = runtime.block_on(apart(&dir.join("apart"), &zip, rows));
        bronze_s.push(bronze);
        silver_s.push(silver);
        apart_mb = apart_mb.max(peak_rss_mb(std::process::id()).unwrap());
        figures::reset_peak();
        together_s.push(runtime.block_on(together(&dir.join("together"), &zip, rows)));
        together_mb = together_mb.max(peak_rss_mb(std::process::id()).unwrap());
    }
    figure("bronze alone", rows, &mut bronze_s, apart_mb);
    figure("silver from bronze", rows, &mut silver_s, apart_mb);
    figure("both, as the command does", rows, &mut together_s, together_mb);
    for lake in ["apart", "together"] {
        std::fs::remove_dir_all(dir.join(lake)).unwrap();
    }
    peers(&zip, &dir.join("peer"), runs);
}

/// Seconds of bronze, then of silver from it.
async fn apart(dir: &Path, zip: &Path, rows: u64) -> [f64; 2] {
    let started = Instant::now();
    let lake = empty(dir);
    load(&lake, zip).await;
    let bronze = started.elapsed().as_secs_f64();
    let refresh = Instant::now();
    let mut silver = Silver::open(lake, SilverOptions::default()).await.unwrap();
    assert_eq!(silver.refresh().await.unwrap().rows_out, rows);
    [bronze, refresh.elapsed().as_secs_f64()]
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

fn figure(name: &str, rows: u64, seconds: &mut [f64], peak_mb: f64) {
    let median = quantile(seconds, 0.5).unwrap();
    figures::print(serde_json::json!({
        "bench": "backfill", "figure": name, "engine": "ticklake", "rows": rows, "threads": THREADS, "runs": seconds.len(),
        "median_s": rounded(median), "rows_per_s": (rows as f64 / median).round(), "peak_mb": peak_mb,
    }));
}

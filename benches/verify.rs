//! The full proof of a lake that a day's archive was loaded into: store against log, every row of bronze and silver read, both gold intervals
//! computed again. One JSON line.
//!
//! `cargo bench --workspace --bench verify`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_RUNS (3), TICKLAKE_BENCH_DIR (the lake is kept
//! between runs).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ticklake_engine::backfill::{self, BackfillOptions, Progress};
use ticklake_engine::gold::{Gold, GoldOptions};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_engine::verify::{VerifyOptions, verify};
use ticklake_sql::{Durability, Lake};
use tokio_util::sync::CancellationToken;

use figures::{peak_rss_mb, quantile, rounded, setting};

mod archive;
mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
const INTERVALS: [&str; 2] = ["1m", "5m"];

fn main() {
    let rows: u64 = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let runs: usize = setting("TICKLAKE_BENCH_RUNS", 3);
    let dir = figures::folder().join(format!("verify-{rows}"));
    std::fs::create_dir_all(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lake = filled(&dir, rows).await;
        figures::reset_peak();
        let options = VerifyOptions {
            gold: INTERVALS.map(gold).into(),
            ..VerifyOptions::default()
        };
        let mut seconds = Vec::new();
        for _ in 0..runs {
            let started = Instant::now();
            let report = verify(&lake, None, &options).await.unwrap();
            seconds.push(started.elapsed().as_secs_f64());
            assert!(report.is_clean(), "{report:?}");
        }
        let seconds = quantile(&mut seconds, 0.5).unwrap();
        figures::print(serde_json::json!({
            "bench": "verify", "figure": "full", "trades": rows, "threads": THREADS, "runs": runs, "median_s": rounded(seconds),
            "trades_per_s": (rows as f64 / seconds).round(), "rows_read_per_s": (2.0 * rows as f64 / seconds).round(),
            "peak_mb": peak_rss_mb(std::process::id()),
        }));
    });
}

fn gold(interval: &str) -> GoldOptions {
    GoldOptions {
        interval: interval.to_owned(),
        ..GoldOptions::default()
    }
}

/// The lake, made once.
async fn filled(dir: &Path, rows: u64) -> Lake {
    let (folder, complete) = (dir.join("lake"), dir.join("complete"));
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    let lake = figures::lake(&folder, Durability::Os);
    if complete.exists() {
        return lake;
    }
    let load = BackfillOptions {
        paths: vec![archive::made(dir, rows).to_string_lossy().into_owned()],
        format: Some("binance-trades".into()),
        encoders: THREADS,
        ..BackfillOptions::default()
    };
    let report = backfill::run(&lake, load, Arc::new(Progress::default()), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((report.bad(), report.failed().count()), (0, 0), "{report:?}");
    let mut silver = Silver::open(lake.clone(), SilverOptions::default()).await.unwrap();
    assert_eq!(silver.refresh().await.unwrap().rows_out, rows);
    for interval in INTERVALS {
        let mut gold = Gold::open(lake.clone(), gold(interval)).await.unwrap();
        gold.refresh().await.unwrap();
    }
    std::fs::write(complete, "").unwrap();
    lake
}

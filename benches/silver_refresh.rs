//! What a refresh of silver costs: a backlog from nothing, then 1,000 new trades at a time on an empty date and on the date that the backlog
//! filled. One JSON line a figure.
//!
//! `cargo bench --workspace --bench silver_refresh`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_RUNS (100 refreshes).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::time::Instant;

use bronze::{DAY_US, START_US, land};
use figures::setting;
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::commit::Committer;
use ticklake_sql::{Durability, Table, TableName};

mod bronze;
mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of one bronze commit of the backlog.
const COMMIT_ROWS: i64 = 250_000;
const NEW_ROWS: i64 = 1_000;

fn main() {
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
    let lake = figures::lake(folder.path(), Durability::Os);
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let mut committer = Committer::open(&bronze).await.unwrap();
    let mut silver = Silver::open(lake, SilverOptions::default()).await.unwrap();

    let empty = new_trades(&bronze, &mut committer, &mut silver, START_US - DAY_US, 1 << 40, runs).await;
    for from in (0..rows).step_by(COMMIT_ROWS as usize) {
        let count = COMMIT_ROWS.min(rows - from);
        land(&bronze, &mut committer, START_US, from, count).await;
    }
    figures::reset_peak();
    let started = Instant::now();
    let report = silver.refresh().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    figures::print(serde_json::json!({
        "figure": "silver_backlog", "rows": rows, "seconds": figures::rounded(seconds), "rows_per_s": (report.rows_in as f64 / seconds).round(),
        "commits": report.commits, "peak_mb": figures::peak_rss_mb(std::process::id()),
    }));
    let full = new_trades(&bronze, &mut committer, &mut silver, START_US, rows, runs).await;
    figures::print(serde_json::json!({
        "figure": "silver_refresh", "new_rows": NEW_ROWS, "date_rows": rows, "empty_date_ms": figures::rounded(empty),
        "full_date_ms": figures::rounded(full), "ratio": figures::rounded(full / empty),
    }));
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

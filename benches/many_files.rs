//! What grows with the number of a lake's files: the append's commit, the first look at a table, and refreshes of silver and gold after 1,000
//! new trades. A table of 1,000 files against one of 50,000, which stand for 1,000,000,000 trades.
//!
//! `cargo bench --workspace --bench many_files`; TICKLAKE_BENCH_FILES (50,000), TICKLAKE_BENCH_RUNS (100), TICKLAKE_BENCH_DIR.
//!
//! The many are entries of the log with statistics and tags as silver's real ones have, of 20,000 trades each on the days before; their files
//! are not there, so whatever reads one of them fails. One process a case, so that memory is of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::process::Command;
use std::time::Instant;

use bronze::{START_US, land};
use chrono::{DateTime, SecondsFormat, TimeDelta};
use deltalake::kernel::Add;
use figures::{ms_since, peak_rss_mb, quantile, rounded, setting};
use serde_json::{Value, json};
use ticklake_engine::gold::{Gold, GoldOptions};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::{Durability, Lake, TableName, log};

mod bronze;
mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FEW: u64 = 1_000;
const FILES_A_DAY: u64 = 1_080;
const ROWS_OF_A_FILE: u64 = 20_000;
const NEW_ROWS: i64 = 1_000;
/// Trades of the day itself before anything is measured: an hour of ten symbols.
const TODAY: i64 = 900_000;
const CASE: &str = "TICKLAKE_BENCH_CASE";

fn main() {
    let many: u64 = setting("TICKLAKE_BENCH_FILES", 50_000);
    let runs: i64 = setting("TICKLAKE_BENCH_RUNS", 100);
    if let Ok(files) = std::env::var(CASE) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(case(files.parse().unwrap(), runs));
    }
    let [few, many] = [FEW, many].map(child);
    let ratio = |figure: &str| rounded(many[figure].as_f64().unwrap() / few[figure].as_f64().unwrap());
    figures::print(json!({
        "bench": "many_files", "figure": "many to few", "append_commit": ratio("append_commit_ms"), "silver_refresh": ratio("silver_refresh_ms"),
        "gold_refresh": ratio("gold_refresh_ms"),
        "open_ms_per_10000_files": rounded(many["open_ms"].as_f64().unwrap() / many["files"].as_f64().unwrap() * 1e4),
    }));
}

fn child(files: u64) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(CASE, files.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    figures::print(line.clone());
    line
}

async fn case(files: u64, runs: i64) {
    std::fs::create_dir_all(figures::folder()).unwrap();
    let folder = tempfile::tempdir_in(figures::folder()).unwrap();
    let lake = figures::lake(folder.path(), Durability::Os);
    let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    let mut committer = Committer::open(&bronze).await.unwrap();
    land(&bronze, &mut committer, START_US, 0, TODAY).await;
    let mut silver = Silver::open(lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let mut gold = Gold::open(lake.clone(), GoldOptions::default()).await.unwrap();
    gold.refresh().await.unwrap();
    pretend(&lake, files).await;
    drop((silver, gold));

    // As a process finds it that starts now.
    let lake = figures::lake(folder.path(), Durability::Os);
    let table = lake.table(&TableName::silver_trades()).await.unwrap();
    let mut open_ms = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        assert!(table.files(None).await.unwrap().1.len() as u64 > files);
        open_ms.push(ms_since(began));
    }
    let mut silver = Silver::open(lake.clone(), SilverOptions::default()).await.unwrap();
    let mut gold = Gold::open(lake.clone(), GoldOptions::default()).await.unwrap();
    let (mut silver_ms, mut gold_ms) = (Vec::new(), Vec::new());
    for run in 0..runs {
        land(&bronze, &mut committer, START_US, TODAY + run * NEW_ROWS, NEW_ROWS).await;
        let began = Instant::now();
        assert_eq!(silver.refresh().await.unwrap().rows_out, NEW_ROWS as u64);
        silver_ms.push(ms_since(began));
        let began = Instant::now();
        assert!(gold.refresh().await.unwrap().changed());
        gold_ms.push(ms_since(began));
    }
    let first_ms = [silver_ms[0], gold_ms[0]].map(rounded);
    let mut append_ms = appends(&lake, runs).await;
    figures::print(json!({
        "bench": "many_files", "figure": "a lake of so many silver files", "files": files, "trades": files * ROWS_OF_A_FILE, "runs": runs,
        "open_ms": quantile(&mut open_ms, 0.5).map(rounded), "append_commit_ms": quantile(&mut append_ms, 0.5).map(rounded),
        "first_silver_ms": first_ms[0], "silver_refresh_ms": quantile(&mut silver_ms, 0.5).map(rounded),
        "first_gold_ms": first_ms[1], "gold_refresh_ms": quantile(&mut gold_ms, 0.5).map(rounded), "peak_mb": peak_rss_mb(std::process::id()),
    }));
}

/// `files` more in silver's log, on the days before; no input of gold's, which reads what changes data.
async fn pretend(lake: &Lake, files: u64) {
    let silver = lake.table(&TableName::silver_trades()).await.unwrap();
    let real = silver.files(None).await.unwrap().1.swap_remove(0);
    let mut committer = Committer::open(&silver).await.unwrap();
    let numbers: Vec<u64> = (0..files).collect();
    for some in numbers.chunks(1_000) {
        let commit = Commit {
            operation: "REFRESH".into(),
            adds: some.iter().map(|number| pretended(&real, *number)).collect(),
            ..Commit::default()
        };
        committer.commit(commit).await.unwrap();
    }
    log::checkpoint(&silver, None).await.unwrap();
}

fn pretended(real: &Add, number: u64) -> Add {
    let day = TimeDelta::days(1 + (number / FILES_A_DAY) as i64);
    let midnight = DateTime::from_timestamp_micros(START_US).unwrap() - day;
    let from = midnight + TimeDelta::seconds(80 * (number % FILES_A_DAY) as i64);
    let to = from + TimeDelta::seconds(80);
    let date = midnight.format("%Y-%m-%d").to_string();
    let mut stats: Value = serde_json::from_str(real.stats.as_ref().unwrap()).unwrap();
    stats["numRecords"] = json!(ROWS_OF_A_FILE);
    for column in ["ts", "received_at", "ingested_at"] {
        stats["minValues"][column] = json!(from.to_rfc3339_opts(SecondsFormat::Micros, true));
        stats["maxValues"][column] = json!(to.to_rfc3339_opts(SecondsFormat::Micros, true));
    }
    Add {
        path: format!("date={date}/part-{number:08}.zstd.parquet"),
        partition_values: HashMap::from([("date".to_owned(), Some(date))]),
        stats: Some(stats.to_string()),
        data_change: false,
        ..real.clone()
    }
}

/// Milliseconds of each commit of one file by a committer that is open.
async fn appends(lake: &Lake, runs: i64) -> Vec<f64> {
    let silver = lake.table(&TableName::silver_trades()).await.unwrap();
    let real = silver.files(None).await.unwrap().1.swap_remove(0);
    let mut committer = Committer::open(&silver).await.unwrap();
    let mut times = Vec::new();
    for run in 0..runs {
        let commit = Commit {
            operation: "REFRESH".into(),
            adds: vec![pretended(&real, 10_000_000 + run as u64)],
            ..Commit::default()
        };
        let began = Instant::now();
        committer.commit(commit).await.unwrap();
        times.push(ms_since(began));
    }
    times
}

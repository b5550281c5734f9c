//! 2,000 silver files of 10,000 rows merged into large ones, output sorted: inputs sorted as silver writes them, and in the order of time; then
//! deltalake's own optimize, which keeps no order, on the same files. One JSON line a figure.
//!
//! `cargo bench --workspace --bench optimize`; TICKLAKE_BENCH_FILES (2,000), TICKLAKE_BENCH_DIR (kept between runs),
//! TICKLAKE_BENCH_RUNS (3). Each run merges a lake of hard links, in a process of its own: peak memory is that of one run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod figures;
mod market;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use figures::setting;
use market::Market;
use ticklake_engine::maintenance::{OptimizeOptions, optimize};
use ticklake_engine::silver::key::Keys;
use ticklake_engine::silver::ranges::{Ranges, TAG};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, TableName};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS_OF_A_FILE: u64 = 10_000;
const THREADS: usize = 2;
/// Names the case that this process is to run, on the lake that the second one names.
const CASE: &str = "TICKLAKE_BENCH_CASE";
const LAKE: &str = "TICKLAKE_BENCH_LAKE";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    if let (Ok(case), Ok(lake)) = (std::env::var(CASE), std::env::var(LAKE)) {
        return runtime.block_on(one(&case, Path::new(&lake)));
    }
    let files = setting("TICKLAKE_BENCH_FILES", 2_000);
    let runs = setting("TICKLAKE_BENCH_RUNS", 3);
    let dir = figures::folder().join(format!("optimize-{files}"));
    for (case, sorted) in [("sorted", true), ("unsorted", false), ("deltalake", true)] {
        let origin = dir.join(if sorted { "sorted" } else { "unsorted" });
        runtime.block_on(fill(&origin, files, sorted));
        let mut lines: Vec<serde_json::Value> = (0..runs).map(|_| child(case, &origin, &dir.join("run"))).collect();
        lines.sort_by(|a, b| {
            a["seconds"]
                .as_f64()
                .unwrap()
                .total_cmp(&b["seconds"].as_f64().unwrap())
        });
        let median = &lines[lines.len() / 2];
        let seconds = median["seconds"].as_f64().unwrap();
        let bytes = bytes(&origin);
        let line = serde_json::json!({
            "bench": "optimize", "case": case, "files": files, "rows": files * ROWS_OF_A_FILE, "bytes": bytes, "threads": THREADS, "runs": runs,
            "median_s": seconds, "mb_per_s": (bytes as f64 / seconds / 1e4).round() / 100.0,
            "rows_per_s": ((files * ROWS_OF_A_FILE) as f64 / seconds).round(), "files_after": median["files_after"],
            "peak_mb": lines.iter().filter_map(|line| line["peak_mb"].as_f64()).max_by(f64::total_cmp),
        });
        println!("{line}");
    }
}

/// One run in a process of its own, on a lake of its own.
fn child(case: &str, origin: &Path, run: &Path) -> serde_json::Value {
    let _ = std::fs::remove_dir_all(run);
    figures::link(origin, run);
    figures::in_a_process([(CASE, case.as_ref()), (LAKE, run.as_os_str())])
}

async fn one(case: &str, dir: &Path) {
    let table = figures::lake(dir, Durability::Os)
        .table(&TableName::silver_trades())
        .await
        .unwrap();
    let target = 64 << 20;
    let started = Instant::now();
    let files_after = if case == "deltalake" {
        let delta = table.load(None).await.unwrap();
        let (_, metrics) = delta
            .optimize()
            .with_target_size(NonZeroU64::new(target).unwrap())
            .with_max_concurrent_tasks(THREADS)
            .await
            .unwrap();
        metrics.num_files_added
    } else {
        let options = OptimizeOptions {
            target_bytes: target,
            min_age: Duration::ZERO,
            thorough: true,
            ..OptimizeOptions::default()
        };
        optimize(&table, &options).await.unwrap().files_added
    };
    let line = serde_json::json!({
        "seconds": (started.elapsed().as_secs_f64() * 1e3).round() / 1e3, "files_after": files_after, "peak_mb": figures::peak_rss_mb(std::process::id()),
    });
    println!("{line}");
}

/// The table, made once: a file a commit of silver's, with its tag.
async fn fill(dir: &Path, files: u64, sorted: bool) {
    let done = dir.join("complete");
    if done.exists() {
        return;
    }
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    let table = figures::lake(dir, Durability::Os)
        .create_table(&TableName::silver_trades())
        .await
        .unwrap();
    let mut market = Market::new();
    let mut adds = Vec::new();
    for _ in 0..files {
        let batch = market.batch(&table, ROWS_OF_A_FILE, sorted);
        let tag = ranges(&batch).to_tag();
        let partition = BTreeMap::from([("date".to_owned(), market::DATE.to_owned())]);
        let mut add = data_file::write(&table, partition, vec![batch], FileOptions::default())
            .await
            .unwrap();
        add.tags = Some(HashMap::from([(TAG.to_owned(), Some(tag))]));
        adds.push(add);
    }
    let mut committer = Committer::open(&table).await.unwrap();
    for adds in adds.chunks(100) {
        let commit = Commit {
            operation: "REFRESH".into(),
            adds: adds.to_vec(),
            ..Commit::default()
        };
        committer.commit(commit).await.unwrap();
    }
    std::fs::write(done, "").unwrap();
}

fn ranges(batch: &RecordBatch) -> Ranges {
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>();
    let ts = batch
        .column_by_name("ts")
        .unwrap()
        .as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let (venue, symbol, kind, trade_id) = (text("venue"), text("symbol"), text("kind"), text("trade_id"));
    let mut keys = Keys::default();
    let rows: Vec<_> = (0..batch.num_rows())
        .map(|row| {
            let key = keys.key(
                venue.value(row),
                symbol.value(row),
                kind.value(row),
                trade_id.value(row),
            );
            (key, Some(ts.value(row)))
        })
        .collect();
    Ranges::of(&keys, rows.into_iter())
}

fn bytes(dir: &Path) -> u64 {
    let partition = dir.join("silver/trades").join(format!("date={}", market::DATE));
    std::fs::read_dir(partition)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

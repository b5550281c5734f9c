//! Figures of Kafka -> bronze: canonical records in 10 partitions of Apache Kafka on the same two cores, from the first fetch to the last commit.
//!
//! `cargo bench --workspace --bench kafka_to_bronze`; TICKLAKE_BENCH_KAFKA (127.0.0.1:9092, kept topics are read again), TICKLAKE_BENCH_RECORDS (10,000,000),
//! TICKLAKE_BENCH_RUNS (3), TICKLAKE_BENCH_DIR (where the lake goes). One JSON line a run, each run in a process of its own so that peak memory
//! is the reader's alone, then the median of each variant. Records are dealt out to the partitions evenly.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticklake_ingest::bronze::{self, BronzeOptions, BronzeStatus};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_sql::Durability;
use tokio_util::sync::CancellationToken;

use figures::{cpu_seconds, peak_rss_mb, quantile, rounded, setting};
use topic::{PARTITIONS, Topic};

mod figures;
mod generator;
mod topic;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 7;
/// Records that say how large they are on average.
const SAMPLE: usize = 10_000;

fn main() {
    let brokers = topic::brokers();
    let records: u64 = setting("TICKLAKE_BENCH_RECORDS", 10_000_000);
    let runs: usize = setting("TICKLAKE_BENCH_RUNS", 3);
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--read") {
        read(&brokers, &arguments[at + 1], records);
        return;
    }
    for with_raw in [false, true] {
        let variant = if with_raw { "with-raw" } else { "plain" };
        let topic = format!("bench-{variant}-{SEED}-{records}");
        fill(&brokers, &topic, records, with_raw);
        let mut rates: Vec<f64> = (0..runs).map(|_| run(&topic)).collect();
        figures::print(serde_json::json!({
            "bench": "kafka_to_bronze", "figure": "median", "topic": topic, "records": records, "runs": runs,
            "bytes_per_record": bytes_per_record(with_raw), "records_per_s": quantile(&mut rates, 0.5),
        }));
    }
}

/// One run in a process of its own: its line passed on, its rate returned.
fn run(topic: &str) -> f64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--read", topic])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(child.status.success(), "{topic}: {}", child.status);
    let figure: serde_json::Value = serde_json::from_slice(&child.stdout).unwrap();
    let rate = figure["records_per_s"].as_f64().unwrap();
    figures::print(figure);
    rate
}

fn bytes_per_record(with_raw: bool) -> f64 {
    let mut generator = generator::Generator::new(SEED, with_raw);
    let bytes: usize = (0..SAMPLE).map(|_| generator.next().1.len()).sum();
    (bytes as f64 / SAMPLE as f64).round()
}

/// Makes and fills the topic unless it is there already.
fn fill(brokers: &str, name: &str, records: u64, with_raw: bool) {
    let topic = Topic::open(brokers, name);
    let held = topic.records();
    if held == records {
        return;
    }
    assert_eq!(held, 0, "topic {name} is half filled: delete it");
    let mut generator = generator::Generator::new(SEED, with_raw);
    for number in 0..records {
        let (key, value) = generator.next();
        let partition = (number % PARTITIONS as u64) as i32;
        topic.send(Some(partition), key.as_bytes(), value.as_bytes());
    }
    topic.flush();
}

fn read(brokers: &str, topic: &str, records: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = match std::env::var("TICKLAKE_BENCH_DIR") {
        Ok(folder) => tempfile::tempdir_in(folder).unwrap(),
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let lake = figures::lake(folder.path(), Durability::Sync);
    let options = BronzeOptions {
        kafka: KafkaOptions::new(brokers),
        topic: topic.to_owned(),
        group: "bench".to_owned(),
        until_latest: true,
        ..BronzeOptions::default()
    };
    let status = Arc::<BronzeStatus>::default();
    let began = Instant::now();
    let watched = status.clone();
    let first_fetch = std::thread::spawn(move || {
        while watched.snapshot()["state"] != "running" {
            std::thread::sleep(Duration::from_millis(1));
        }
        Instant::now()
    });
    let report = runtime
        .block_on(bronze::run(options, lake, status, CancellationToken::new()))
        .unwrap();
    let ended = Instant::now();
    let first_fetch = first_fetch.join().unwrap();
    assert_eq!(report.rows, records);
    let seconds = ended.duration_since(first_fetch).as_secs_f64();
    let figure = serde_json::json!({
        "bench": "kafka_to_bronze",
        "topic": topic,
        "records": records,
        "seconds": rounded(seconds),
        "records_per_s": (records as f64 / seconds).round(),
        "startup_ms": first_fetch.duration_since(began).as_millis() as u64,
        "commits": report.commits,
        "files": report.files,
        "bytes_per_row": (report.file_bytes as f64 / report.rows as f64 * 10.0).round() / 10.0,
        "peak_rss_mb": peak_rss_mb(std::process::id()),
        "cpu_s": cpu_seconds(std::process::id()),
    });
    figures::print(figure);
}

//! Figures of Kafka -> bronze: canonical records in 10 partitions of Apache Kafka on the same two cores, from the first fetch to the last commit.
//!
//! `cargo bench -p ticklake-ingest`; TICKLAKE_BENCH_KAFKA (127.0.0.1:9092, kept topics are read again), TICKLAKE_BENCH_RECORDS (10,000,000),
//! TICKLAKE_BENCH_DIR (where the lake goes). One JSON line a variant, each read by a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use ticklake_ingest::bronze::{self, BronzeOptions, BronzeStatus};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions};
use tokio_util::sync::CancellationToken;

mod generator;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: i32 = 10;
const SEED: u64 = 7;
const WAIT: Duration = Duration::from_secs(60);

fn main() {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let brokers = setting("TICKLAKE_BENCH_KAFKA", "127.0.0.1:9092");
    let records: u64 = setting("TICKLAKE_BENCH_RECORDS", "10000000").parse().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--read") {
        read(&brokers, &arguments[at + 1], records);
        return;
    }
    for with_raw in [false, true] {
        let variant = if with_raw { "with-raw" } else { "plain" };
        let topic = format!("bench-{variant}-{SEED}-{records}");
        fill(&brokers, &topic, records, with_raw);
        // A process of its own: peak memory is the reader's alone.
        let status = Command::new(std::env::current_exe().unwrap())
            .arg("--read")
            .arg(&topic)
            .status()
            .unwrap();
        assert!(status.success(), "{variant}");
    }
}

/// Makes and fills the topic unless it is there already.
fn fill(brokers: &str, topic: &str, records: u64, with_raw: bool) {
    let config = |pairs: &[(&str, &str)]| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        for (name, value) in pairs {
            config.set(*name, *value);
        }
        config
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let admin: AdminClient<DefaultClientContext> = config(&[]).create().unwrap();
    let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    runtime
        .block_on(admin.create_topics(&[new], &AdminOptions::new().operation_timeout(Some(WAIT))))
        .unwrap();
    let consumer: BaseConsumer = config(&[("group.id", "bench")]).create().unwrap();
    let held: i64 = (0..PARTITIONS)
        .map(|partition| {
            consumer
                .fetch_watermarks(topic, partition, WAIT)
                .map_or(0, |(_, end)| end)
        })
        .sum();
    if held == records as i64 {
        return;
    }
    assert_eq!(held, 0, "topic {topic} is half filled: delete it");
    let producer: BaseProducer = config(&[
        ("linger.ms", "50"),
        ("queue.buffering.max.messages", "500000"),
        ("batch.size", "1000000"),
    ])
    .create()
    .unwrap();
    let mut generator = generator::Generator::new(SEED, with_raw);
    for number in 0..records {
        let (key, value) = generator.next();
        loop {
            match producer.send(
                BaseRecord::to(topic)
                    .key(key)
                    .payload(value)
                    .partition((number % PARTITIONS as u64) as i32),
            ) {
                Ok(()) => break,
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    producer.flush(WAIT).unwrap();
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
    let options = LakeOptions {
        durability: Durability::Sync,
        ..LakeOptions::default()
    };
    let lake = Lake::open(folder.path().to_str().unwrap(), options, Clock::system()).unwrap();
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
        "seconds": (seconds * 1000.0).round() / 1000.0,
        "records_per_s": (records as f64 / seconds).round(),
        "startup_ms": first_fetch.duration_since(began).as_millis() as u64,
        "commits": report.commits,
        "files": report.files,
        "bytes_per_row": (report.file_bytes as f64 / report.rows as f64 * 10.0).round() / 10.0,
        "peak_rss_mb": peak_rss_mb(),
        "cpu_s": cpu_seconds(),
    });
    println!("{figure}");
}

fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// User and system time of this process.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?) / 100.0)
}

//! What the tests of bronze share: topics with known records, runs of bronze, and reading back what the lake holds.

#![allow(dead_code)]

pub mod flaky_store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use ticklake_ingest::bronze::{self, BronzeOptions, BronzeReport, BronzeStatus};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, TableName};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, shorter than anybody's patience.
pub const DEADLINE: Duration = Duration::from_secs(90);

pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{name}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

pub fn lake(folder: &Path) -> Lake {
    let options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    Lake::open(folder.to_str().unwrap(), options, Clock::system()).unwrap()
}

pub fn options(brokers: &str, topic: &str) -> BronzeOptions {
    BronzeOptions {
        kafka: KafkaOptions {
            bootstrap_servers: brokers.to_owned(),
            ..KafkaOptions::default()
        },
        topic: topic.to_owned(),
        group: format!("{topic}-group"),
        commit_age: Duration::from_millis(200),
        topic_check_interval: Duration::from_millis(200),
        ..BronzeOptions::default()
    }
}

/// Runs to the end offsets of now.
pub async fn run_to_end(options: &BronzeOptions, lake: &Lake) -> ticklake_ingest::Result<BronzeReport> {
    let options = BronzeOptions {
        until_latest: true,
        ..options.clone()
    };
    let run = bronze::run(options, lake.clone(), Arc::default(), CancellationToken::new());
    tokio::time::timeout(DEADLINE, run).await.expect("a bounded run ends")
}

/// A run that goes on until it is stopped.
pub struct Running {
    pub status: Arc<BronzeStatus>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<ticklake_ingest::Result<BronzeReport>>,
}

impl Running {
    pub fn start(options: &BronzeOptions, lake: &Lake) -> Self {
        let (status, shutdown) = (Arc::<BronzeStatus>::default(), CancellationToken::new());
        let task = tokio::spawn(bronze::run(
            options.clone(),
            lake.clone(),
            status.clone(),
            shutdown.clone(),
        ));
        Self { status, shutdown, task }
    }

    pub async fn stop(self) -> BronzeReport {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("a run ends after the shutdown")
            .unwrap()
            .unwrap()
    }

    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn until(&self, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status.snapshot();
            if condition(&status) {
                return;
            }
            assert!(
                !self.task.is_finished(),
                "the run ended while waiting until {what}: {status:#}"
            );
            assert!(Instant::now() < deadline, "waited too long until {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_recorded(&self, records: u64) {
        self.until(&format!("{records} records are committed"), |status| {
            status["records"].as_u64().unwrap() >= records
        })
        .await;
    }
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn trade(seq: u64) -> String {
    format!(
        r#"{{"venue":"test","symbol":"S{}-USD","kind":"trade","trade_id":"{seq}","seq":{seq},"price":"{}.25","qty":"0.5","side":"buy","ts":{},"received_at":{},"source":"sim","conditions":[]}}"#,
        seq % 7,
        100 + seq % 50,
        1_735_689_600_000_000 + seq,
        1_735_689_600_001_000 + seq,
    )
}

pub fn producer(brokers: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "20000000")
        .set("linger.ms", "5");
    config.set("queue.buffering.max.messages", "1000000");
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Queues one value, waiting while the queue is full. `None` is a null value.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, value: Option<&[u8]>) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(b"key");
        if let Some(value) = value {
            record = record.payload(value);
        }
        match producer.send(record) {
            Ok(()) => return,
            Err((error, _)) if error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull) => {
                assert!(Instant::now() < deadline, "the producer's queue stays full");
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
}

/// Trades with seq of `range`, spread over `partitions`, acknowledged before this returns.
pub fn send_trades(brokers: &str, topic: &str, partitions: i32, range: std::ops::Range<u64>) {
    let producer = producer(brokers, &[]);
    for seq in range {
        send(
            &producer,
            topic,
            (seq % partitions as u64) as i32,
            Some(trade(seq).as_bytes()),
        );
        if seq % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(DEADLINE).unwrap();
}

/// What a bronze table holds, by coordinates.
#[derive(Debug, Default)]
pub struct Held {
    /// (partition, offset) -> how often. More than once is a double.
    pub coordinates: BTreeMap<(i32, i64), u32>,
    pub seqs: BTreeMap<i64, u32>,
    pub classes: BTreeMap<String, u32>,
    pub batches: Vec<RecordBatch>,
}

impl Held {
    pub fn rows(&self) -> usize {
        self.coordinates.values().map(|count| *count as usize).sum()
    }

    pub fn doubles(&self) -> usize {
        self.coordinates.values().filter(|count| **count > 1).count()
    }
}

pub async fn held(lake: &Lake, name: &TableName) -> Held {
    let table = lake.table(name).await.unwrap();
    let store = table.log_store().object_store(None);
    let mut held = Held::default();
    for add in table.files(None).await.unwrap().1 {
        let bytes = store
            .get(&add.path.as_str().into())
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        for batch in batches {
            let batch = batch.unwrap();
            let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
            let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                *held
                    .coordinates
                    .entry((partitions.value(row), offsets.value(row)))
                    .or_default() += 1;
            }
            if let Some(seqs) = batch.column_by_name("seq") {
                for seq in seqs.as_primitive::<Int64Type>().values() {
                    *held.seqs.entry(*seq).or_default() += 1;
                }
            }
            if let Some(classes) = batch.column_by_name("error_class") {
                for class in classes.as_string::<i32>().iter().flatten() {
                    *held.classes.entry(class.to_owned()).or_default() += 1;
                }
            }
            held.batches.push(batch);
        }
    }
    held
}

/// Panics unless bronze.trades holds the trades with seq of `range`, each once.
pub async fn assert_trades_once(lake: &Lake, range: std::ops::Range<u64>) {
    let held = held(lake, &TableName::bronze_trades()).await;
    let missing: Vec<_> = range
        .clone()
        .filter(|seq| !held.seqs.contains_key(&(*seq as i64)))
        .take(5)
        .collect();
    let doubled: Vec<_> = held.seqs.iter().filter(|(_, count)| **count > 1).take(5).collect();
    assert!(
        missing.is_empty() && doubled.is_empty(),
        "missing {missing:?}, doubled {doubled:?} of {} rows",
        held.rows()
    );
    assert_eq!(held.rows() as u64, range.end - range.start);
    assert_eq!(held.doubles(), 0);
}

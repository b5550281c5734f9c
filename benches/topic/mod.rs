//! Topics of the benches on the broker that TICKLAKE_BENCH_KAFKA names: made, filled, counted, deleted.
#![allow(dead_code)] // each bench uses a part

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

pub const PARTITIONS: i32 = 10;
const WAIT: Duration = Duration::from_secs(60);

/// One topic of ten partitions, and a producer for it.
pub struct Topic {
    pub name: String,
    brokers: String,
    producer: BaseProducer,
}

pub fn brokers() -> String {
    super::figures::setting("TICKLAKE_BENCH_KAFKA", "127.0.0.1:9092".to_owned())
}

impl Topic {
    /// Makes the topic unless it is there already.
    pub fn open(brokers: &str, name: &str) -> Self {
        let new = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let made = run(admin(brokers).create_topics(&[new], &options())).unwrap();
        for (topic, code) in made.into_iter().filter_map(Result::err) {
            assert_eq!(code, RDKafkaErrorCode::TopicAlreadyExists, "{topic}");
        }
        let producer = config(brokers)
            .set("linger.ms", "50")
            .set("queue.buffering.max.messages", "500000")
            .set("batch.size", "1000000")
            // As the product deals keys out.
            .set("partitioner", "murmur2_random")
            .create()
            .unwrap();
        Self {
            name: name.to_owned(),
            brokers: brokers.to_owned(),
            producer,
        }
    }

    /// Records that it holds. A partition of a new topic has no leader for a moment.
    pub fn records(&self) -> u64 {
        let consumer: BaseConsumer = config(&self.brokers).set("group.id", "bench").create().unwrap();
        let began = Instant::now();
        let end = |partition| {
            loop {
                match consumer.fetch_watermarks(&self.name, partition, WAIT) {
                    Ok((_, end)) => return end,
                    Err(error) => assert!(began.elapsed() < WAIT, "{}: {error}", self.name),
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        (0..PARTITIONS).map(end).sum::<i64>().unsigned_abs()
    }

    /// `None`: the partition that the key belongs to.
    pub fn send(&self, partition: Option<i32>, key: &[u8], value: &[u8]) {
        let mut record = BaseRecord::to(&self.name).key(key).payload(value);
        record.partition = partition;
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    self.producer.poll(Duration::from_millis(20));
                    record = back;
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }

    /// Returns when the broker has everything.
    pub fn flush(&self) {
        self.producer.flush(WAIT).unwrap();
    }

    pub fn delete(self) {
        delete(&self.brokers, &self.name);
    }
}

pub fn delete(brokers: &str, name: &str) {
    let deleted = run(admin(brokers).delete_topics(&[name], &options())).unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    config(brokers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

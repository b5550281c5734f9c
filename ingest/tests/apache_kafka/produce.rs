//! The producer against Apache Kafka: topics made where missing, every record there.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use ticklake_ingest::feed::{FeedOptions, SimOptions};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_ingest::produce::{self, ProduceOptions, ProduceReport};
use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use crate::topics::brokers;

fn unique_topic(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), Clock::system().now_us())
}

async fn produced(topic: &str, partitions: i32, trades: u64) -> ProduceReport {
    let options = ProduceOptions {
        kafka: KafkaOptions::new(brokers()),
        topic: topic.to_owned(),
        partitions,
        feed: FeedOptions::Sim(SimOptions {
            rate: 1_000_000,
            limit: Some(trades),
            ..SimOptions::default()
        }),
        ..ProduceOptions::default()
    };
    produce::run(options, Clock::system(), Arc::default(), CancellationToken::new())
        .await
        .unwrap()
}

/// Records of each partition.
fn records(topic: &str) -> Vec<i64> {
    let timeout = Duration::from_secs(20);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("group.id", topic)
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(None, timeout).unwrap();
    let partitions = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)
        .unwrap()
        .partitions()
        .len() as i32;
    let records = |partition| {
        let (low, high) = consumer.fetch_watermarks(topic, partition, timeout).unwrap();
        high - low
    };
    (0..partitions).map(records).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_made_and_one_that_exists_is_left_as_it_is() {
    let topic = unique_topic("produce");
    let report = produced(&topic, 10, 100_000).await;
    assert_eq!((report.delivered, report.rejected, report.undelivered), (100_000, 0, 0));
    let made = records(&topic);
    assert_eq!((made.len(), made.iter().sum::<i64>()), (10, 100_000));

    produced(&topic, 3, 1_000).await;
    let left = records(&topic);
    assert_eq!((left.len(), left.iter().sum::<i64>()), (10, 101_000));
}

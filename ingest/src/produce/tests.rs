//! The producer against librdkafka's own broker: delivery, outages, fatal errors, refusals, drain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::feed::{FeedOptions, ReplayOptions, SimOptions};
use crate::kafka::KafkaOptions;

const TOPIC: &str = "trades";
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(30);

type Mock = MockCluster<'static, DefaultProducerContext>;

fn broker() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    mock
}

fn options(mock: &Mock, feed: FeedOptions) -> ProduceOptions {
    let mut kafka = KafkaOptions::new(mock.bootstrap_servers());
    for (name, value) in [
        ("linger.ms", "5"),
        ("reconnect.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
        ("retry.backoff.ms", "20"),
    ] {
        kafka.librdkafka.insert(name.to_owned(), value.to_owned());
    }
    ProduceOptions {
        kafka,
        feed,
        ..ProduceOptions::default()
    }
}

fn sim(rate: u32, limit: Option<u64>) -> FeedOptions {
    FeedOptions::Sim(SimOptions {
        rate,
        limit,
        ..SimOptions::default()
    })
}

/// A producer that runs beside the test.
struct Running {
    status: Arc<ProduceStatus>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<ProduceReport>>,
}

fn start(options: ProduceOptions) -> Running {
    let (status, shutdown) = (Arc::new(ProduceStatus::default()), CancellationToken::new());
    let task = tokio::spawn(run(options, Clock::system(), Arc::clone(&status), shutdown.clone()));
    Running { status, shutdown, task }
}

impl Running {
    async fn until(&self, what: &str, condition: impl Fn(&ProduceStatus) -> bool) {
        let reached = async {
            while !condition(&self.status) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        if waited.is_err() {
            // The runtime ends only with the delivery thread.
            self.shutdown.cancel();
            panic!("{what}: {}", self.status.snapshot());
        }
    }

    async fn end(self) -> ProduceReport {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

/// Key -> partitions that hold it.
type Keys = BTreeMap<String, BTreeSet<i32>>;
/// (symbol, trade id) -> how often.
type Ids = BTreeMap<(String, String), usize>;

/// Every record of the topic.
fn stored(mock: &Mock) -> (Keys, Ids) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", mock.bootstrap_servers())
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions
            .add_partition_offset(TOPIC, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let (mut keys, mut ids) = (BTreeMap::new(), BTreeMap::new());
    let mut ended = BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while ended.len() < PARTITIONS as usize {
        assert!(Instant::now() < deadline, "partitions end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("{error}"),
            Some(Ok(message)) => {
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                let trade: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
                let id = (
                    trade["symbol"].as_str().unwrap().to_owned(),
                    trade["trade_id"].as_str().unwrap().to_owned(),
                );
                keys.entry(key)
                    .or_insert_with(BTreeSet::new)
                    .insert(message.partition());
                *ids.entry(id).or_insert(0) += 1;
            }
        }
    }
    (keys, ids)
}

#[tokio::test]
async fn every_trade_arrives_once_and_a_symbol_keeps_its_partition() {
    let mock = broker();
    let report = start(options(&mock, sim(1_000_000, Some(20_000)))).end().await;
    assert_eq!((report.delivered, report.rejected, report.undelivered), (20_000, 0, 0));
    let (keys, ids) = stored(&mock);
    assert_eq!(ids.len(), 20_000);
    assert!(ids.values().all(|count| *count == 1));
    assert!(
        keys.values().all(|partitions| partitions.len() == 1) && keys.len() == 50,
        "{keys:?}"
    );
    assert!(
        keys.values().flatten().collect::<BTreeSet<_>>().len() == PARTITIONS as usize,
        "all partitions are used"
    );
}

#[tokio::test]
async fn a_replay_goes_the_same_way() {
    let mock = broker();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/binance-spot-2025/trades.jsonl.gz");
    let report = start(options(&mock, FeedOptions::Replay(ReplayOptions::new(path))))
        .end()
        .await;
    assert_eq!((report.delivered, report.undelivered), (11_032, 0));
    assert_eq!(stored(&mock).1.len(), 11_032);
}

#[tokio::test]
async fn an_outage_holds_the_feed_and_loses_nothing() {
    let mock = broker();
    let mut options = options(&mock, sim(100_000, None));
    options
        .kafka
        .librdkafka
        .insert("queue.buffering.max.messages".to_owned(), "2000".to_owned());
    let producer = start(options);
    producer
        .until("records flow", |status| {
            status.delivered.load(Ordering::Relaxed) > 1_000
        })
        .await;
    mock.broker_down(1).unwrap();
    producer
        .until("the queue fills", |status| {
            status.queue_full.load(Ordering::Relaxed) > 0
        })
        .await;
    // bounded: librdkafka's queue, ours of batches, and the batch on either side
    let pushed_at_full = producer.status.pushed();
    let deadline = Instant::now() + PATIENCE;
    let mut last = 0;
    while last != producer.status.pushed() {
        assert!(Instant::now() < deadline, "the feed stops");
        last = producer.status.pushed();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(
        producer.status.pushed() - pushed_at_full < 30_000,
        "{}",
        producer.status.snapshot()
    );
    mock.broker_up(1).unwrap();
    let stuck = producer.status.pushed();
    producer
        .until("everything held arrives", |status| {
            status.delivered.load(Ordering::Relaxed) > stuck
        })
        .await;
    producer.shutdown.cancel();
    let status = Arc::clone(&producer.status);
    let report = producer.end().await;
    assert_eq!((report.rejected, report.undelivered), (0, 0), "{}", status.snapshot());
    assert_eq!(stored(&mock).1.len() as u64, report.delivered);
}

#[tokio::test]
async fn a_fatal_error_makes_a_new_producer_and_loses_nothing() {
    let mock = broker();
    let producer = start(options(&mock, sim(20_000, None)));
    producer
        .until("records flow", |status| {
            status.delivered.load(Ordering::Relaxed) > 1_000
        })
        .await;
    // a sequence gap that the idempotent producer cannot explain is fatal
    let gap = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    mock.request_errors(RDKafkaApiKey::Produce, &[gap; 4]);
    producer
        .until("a new producer", |status| status.renewals.load(Ordering::Relaxed) > 0)
        .await;
    let then = producer.status.pushed();
    producer
        .until("records flow again", |status| {
            status.delivered.load(Ordering::Relaxed) > then
        })
        .await;
    producer.shutdown.cancel();
    let status = Arc::clone(&producer.status);
    let report = producer.end().await;
    assert_eq!((report.rejected, report.undelivered), (0, 0), "{}", status.snapshot());
    assert!(status.last_error().is_some(), "it is told");
    assert_eq!(
        stored(&mock).1.len() as u64,
        status.pushed(),
        "each trade at least once"
    );
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_for_good_is_counted_and_the_rest_goes_on() {
    let mock = broker();
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let producer = start(options(&mock, sim(2_000, None)));
    producer
        .until("records flow", |status| status.delivered.load(Ordering::Relaxed) > 100)
        .await;
    mock.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    producer
        .until("a refusal", |status| status.rejected.load(Ordering::Relaxed) > 0)
        .await;
    let then = producer.status.pushed();
    producer
        .until("records flow again", |status| {
            status.delivered.load(Ordering::Relaxed) > then
        })
        .await;
    producer.shutdown.cancel();
    let status = Arc::clone(&producer.status);
    let report = producer.end().await;
    assert!(report.rejected > 0 && report.undelivered == 0);
    assert_eq!(report.delivered + report.rejected, status.pushed());
    assert!(
        status.snapshot()["last_error"]["message"]
            .as_str()
            .unwrap()
            .contains("refused"),
        "{}",
        status.snapshot()
    );
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_tells_what_was_left() {
    let mock = broker();
    let options = ProduceOptions {
        drain_timeout: Duration::from_millis(300),
        ..options(&mock, sim(5_000, None))
    };
    let producer = start(options);
    producer
        .until("records flow", |status| status.delivered.load(Ordering::Relaxed) > 100)
        .await;
    mock.broker_down(1).unwrap();
    let then = producer.status.pushed();
    producer
        .until("the feed goes on", |status| status.pushed() > then + 100)
        .await;
    let cancelled = Instant::now();
    producer.shutdown.cancel();
    let status = Arc::clone(&producer.status);
    let report = producer.end().await;
    assert!(
        cancelled.elapsed() < Duration::from_secs(5),
        "{:?}",
        cancelled.elapsed()
    );
    assert!(report.undelivered > 0);
    assert_eq!(report.delivered + report.undelivered, status.pushed());
    assert_eq!(status.snapshot()["undelivered"], report.undelivered);
}

#[tokio::test]
async fn an_unreachable_broker_is_one_sentence_with_its_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let options = ProduceOptions {
        kafka: KafkaOptions::new(&address),
        connect_timeout: Duration::from_millis(300),
        ..ProduceOptions::default()
    };
    let error = start(options).task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    assert_eq!(error.kind(), crate::ErrorKind::Retry);
}

#[test]
fn records_are_acknowledged_by_all_and_never_given_up() {
    let config = ProduceOptions::default().client_config().unwrap();
    for (name, value) in [
        ("message.timeout.ms", "0"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
    ] {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
}

#[test]
fn settings_that_weaken_delivery_are_refused() {
    for (name, value) in [
        ("acks", "1"),
        ("request.required.acks", "1"),
        ("enable.idempotence", "false"),
        ("message.timeout.ms", "1000"),
        ("delivery.timeout.ms", "1000"),
        ("retries", "1"),
        ("transactional.id", "x"),
    ] {
        let mut options = ProduceOptions::default();
        options.kafka.librdkafka.insert(name.to_owned(), value.to_owned());
        let error = options.check().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        assert!(error.to_string().contains(name), "{error}");
    }
    for topic in ["", "a b", "ä", &"x".repeat(250)] {
        let options = ProduceOptions {
            topic: topic.to_owned(),
            ..ProduceOptions::default()
        };
        assert_eq!(options.check().unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
    assert!(
        ProduceOptions {
            partitions: 0,
            ..ProduceOptions::default()
        }
        .check()
        .is_err()
    );
}

//! The Kafka broker of a test: the embedded one on a free port, or the one that `TICKLAKE_TEST_KAFKA` names (feature `services`).

use std::path::Path;

use tokio::runtime::Runtime;

#[path = "../../src/embedded_broker/mod.rs"]
mod embedded_broker;

use embedded_broker::{BrokerOptions, EmbeddedBroker};

/// A broker that lives as long as this value.
pub struct Broker {
    pub addr: String,
    /// A name of its own, for a broker that other tests use too.
    pub topic: String,
    embedded: Option<(Runtime, EmbeddedBroker)>,
}

impl Broker {
    pub fn start(folder: &Path) -> Self {
        let topic = format!("trades-{}", uuid::Uuid::new_v4().simple());
        if cfg!(feature = "services")
            && let Ok(addr) = std::env::var("TICKLAKE_TEST_KAFKA")
        {
            return Self {
                addr,
                topic,
                embedded: None,
            };
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = BrokerOptions {
            addr: "127.0.0.1:0".to_owned(),
            folder: folder.join("broker"),
        };
        let broker = runtime.block_on(EmbeddedBroker::start(options)).unwrap();
        Self {
            addr: broker.addr().to_string(),
            topic,
            embedded: Some((runtime, broker)),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((runtime, broker)) = self.embedded.take() {
            runtime.block_on(broker.stop());
            runtime.shutdown_background();
        }
    }
}

mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    use rdkafka::client::DefaultClientContext;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::{Offset, TopicPartitionList};

    use super::embedded_broker::{BrokerOptions, EmbeddedBroker, Trimmer};

    const WAIT: Duration = Duration::from_secs(20);

    fn client(addr: &str, options: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", addr);
        config.extend(options.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        config
    }

    async fn start(folder: &std::path::Path) -> EmbeddedBroker {
        let options = BrokerOptions {
            addr: "127.0.0.1:0".to_owned(),
            folder: folder.to_owned(),
        };
        EmbeddedBroker::start(options).await.unwrap()
    }

    async fn create_topic(addr: &str, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = client(addr, &[]).create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        admin
            .create_topics([&topic], &AdminOptions::new())
            .await
            .unwrap()
            .pop()
            .unwrap()
            .unwrap();
    }

    fn produce(addr: &str, topic: &str, partition: i32, values: std::ops::Range<usize>) {
        let producer: BaseProducer = client(
            addr,
            &[("enable.idempotence", "true"), ("acks", "all"), ("linger.ms", "20")],
        )
        .create()
        .unwrap();
        for value in values {
            let value = format!("record {value}");
            let mut record = BaseRecord::to(topic).partition(partition).key("k").payload(&value);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        producer.flush(WAIT).unwrap();
    }

    /// (offset, value) of `count` records from the earliest on.
    fn consume(addr: &str, topic: &str, partition: i32, count: usize) -> Vec<(i64, String)> {
        let options = [
            ("group.id", "test"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
        ];
        let consumer: BaseConsumer = client(addr, &options).create().unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
        consumer.assign(&assignment).unwrap();
        let mut read = Vec::new();
        let start = std::time::Instant::now();
        while read.len() < count {
            assert!(start.elapsed() < WAIT, "{} of {count} records", read.len());
            if let Some(message) = consumer.poll(Duration::from_millis(200)) {
                let message = message.unwrap();
                read.push((
                    message.offset(),
                    String::from_utf8(message.payload().unwrap().to_vec()).unwrap(),
                ));
            }
        }
        read
    }

    fn expected(values: std::ops::Range<usize>) -> Vec<(i64, String)> {
        values.map(|value| (value as i64, format!("record {value}"))).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn acknowledged_records_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("größe with space");
        let broker = start(&folder).await;
        let addr = broker.addr().to_string();
        create_topic(&addr, "t", 2).await;
        let first = addr.clone();
        tokio::task::spawn_blocking(move || produce(&first, "t", 1, 0..1_000))
            .await
            .unwrap();
        broker.stop().await;

        let broker = start(&folder).await;
        let addr = broker.addr().to_string();
        let read = tokio::task::spawn_blocking(move || {
            produce(&addr, "t", 1, 1_000..1_500);
            consume(&addr, "t", 1, 1_500)
        });
        assert_eq!(read.await.unwrap(), expected(0..1_500));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn trimming_drops_read_records_and_keeps_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let broker = start(folder.path()).await;
        let addr = broker.addr().to_string();
        create_topic(&addr, "t", 2).await;
        let to = addr.clone();
        tokio::task::spawn_blocking(move || produce(&to, "t", 0, 0..5_000))
            .await
            .unwrap();
        let never = i64::MAX;
        let trimmer: Trimmer = broker.trimmer();
        assert_eq!(
            trimmer.trim("t", &[(0, 5_000)], 0).await.unwrap(),
            0,
            "nothing is that old"
        );
        assert_eq!(trimmer.trim("t", &[(0, 3_000), (1, 0)], never).await.unwrap(), 3_000);
        assert_eq!(
            trimmer.trim("t", &[(0, 5_000)], never).await.unwrap(),
            1_999,
            "the newest stays"
        );
        let read = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client(&addr, &[]).create().unwrap();
            let ends = consumer.fetch_watermarks("t", 0, WAIT).unwrap();
            produce(&addr, "t", 0, 5_000..5_002);
            (ends, consume(&addr, "t", 0, 3))
        });
        assert_eq!(read.await.unwrap(), ((4_999, 5_000), expected(4_999..5_002)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_long_backlog_is_read_in_one_go() {
        const RECORDS: usize = 100_000;
        let folder = tempfile::tempdir().unwrap();
        let broker = start(folder.path()).await;
        let addr = broker.addr().to_string();
        create_topic(&addr, "t", 1).await;
        let read = tokio::task::spawn_blocking(move || {
            produce(&addr, "t", 0, 0..RECORDS);
            let started = std::time::Instant::now();
            let read = consume(&addr, "t", 0, RECORDS);
            (read, started.elapsed())
        });
        let (read, elapsed) = read.await.unwrap();
        assert_eq!(read, expected(0..RECORDS));
        println!("{RECORDS} records in {elapsed:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_larger_than_an_answer_is_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let broker = start(folder.path()).await;
        let addr = broker.addr().to_string();
        create_topic(&addr, "t", 1).await;
        let read = tokio::task::spawn_blocking(move || {
            let large = "x".repeat(10 << 20);
            let options = [("message.max.bytes", "20000000"), ("enable.idempotence", "true")];
            let producer: BaseProducer = client(&addr, &options).create().unwrap();
            for payload in ["before", &large, "after"] {
                producer
                    .send(BaseRecord::<str, str>::to("t").partition(0).payload(payload))
                    .unwrap();
            }
            producer.flush(WAIT).unwrap();
            consume(&addr, "t", 0, 3)
                .into_iter()
                .map(|(_, value)| value.len())
                .collect::<Vec<_>>()
        });
        assert_eq!(read.await.unwrap(), [6, 10 << 20, 5]);
    }
}

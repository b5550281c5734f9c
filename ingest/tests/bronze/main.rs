//! Kafka -> bronze against librdkafka's mock cluster: what needs no more of Kafka than its records, and a store that misbehaves.
//! What needs the real thing (transactions, kills, topics made again) is in `apache_kafka`.

#[path = "../support/mod.rs"]
mod support;

mod dead_letters;

mod flow;

mod store_faults;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }
}

async fn cluster(topic: &str, partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(topic, partitions, 1).unwrap();
    Cluster(cluster)
}

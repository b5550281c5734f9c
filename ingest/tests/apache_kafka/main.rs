//! Kafka -> bronze against Apache Kafka: what only the real broker does. `TICKLAKE_TEST_KAFKA` is its address; without it these tests fail.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod topics;

#[path = "../bronze/dead_letters.rs"]
mod dead_letters;

#[path = "../bronze/flow.rs"]
mod flow;

#[path = "../bronze/store_faults.rs"]
mod store_faults;

mod broker;

mod instances;

mod kills;

mod lost_positions;

mod transactions;

/// The broker under test, for the tests that the mock cluster runs too.
struct Cluster;

impl Cluster {
    fn bootstrap_servers(&self) -> String {
        topics::brokers()
    }
}

async fn cluster(topic: &str, partitions: i32) -> Cluster {
    topics::create(topic, partitions, &[]).await;
    Cluster
}

//! Making, changing and removing topics of the broker under test.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{DEADLINE, until};

pub fn brokers() -> String {
    std::env::var("TICKLAKE_TEST_KAFKA")
        .expect("TICKLAKE_TEST_KAFKA is the address of an Apache Kafka broker: run `.ci/run services`")
}

fn admin() -> AdminClient<DefaultClientContext> {
    admin_at(&brokers())
}

fn admin_at(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap()
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}

pub async fn create(topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    create_at(&brokers(), topic, partitions, settings).await;
}

pub async fn create_at(brokers: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    for result in admin_at(brokers).create_topics(&[new], &admin_options()).await.unwrap() {
        result.unwrap();
    }
}

pub async fn delete(topic: &str) {
    for result in admin().delete_topics(&[topic], &admin_options()).await.unwrap() {
        result.unwrap();
    }
    let admin = admin();
    until("the topic is gone", || {
        let metadata = admin.inner().fetch_metadata(None, DEADLINE).unwrap();
        metadata.topics().iter().all(|known| known.name() != topic)
    })
    .await;
}

pub async fn add_partitions(topic: &str, count: usize) {
    let new = NewPartitions::new(topic, count);
    for result in admin().create_partitions(&[new], &admin_options()).await.unwrap() {
        result.unwrap();
    }
    // A producer that learns of fewer refuses what is sent to the others.
    let admin = admin();
    until("the partitions are known", || {
        let metadata = admin.inner().fetch_metadata(Some(topic), DEADLINE).unwrap();
        let known = metadata.topics().first().map(|known| known.partitions());
        known.is_some_and(|known| known.len() == count && known.iter().all(|partition| partition.leader() >= 0))
    })
    .await;
}

/// Lets the log of `partition` start at `offset`, as retention does.
pub async fn expire(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .unwrap();
    admin().delete_records(&list, &admin_options()).await.unwrap();
}

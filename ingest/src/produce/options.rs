//! The producer's settings, and what of librdkafka is fixed by the delivery guarantees.

use std::time::Duration;

use rdkafka::config::ClientConfig;

use crate::error::{Error, Result};
use crate::feed::FeedOptions;
use crate::kafka::KafkaOptions;

/// No record is given up, doubled by a retry or acknowledged by less than all replicas, and each one is reported.
const FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("message.timeout.ms", "0"),
    ("message.send.max.retries", "2147483647"),
    ("delivery.report.only.error", "false"),
];

/// Ours where the user says nothing. Queue: about a quarter of a second at full rate, 128 MiB at most.
const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "ticklake-produce"),
    ("linger.ms", "20"),
    ("batch.num.messages", "10000"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "131072"),
    // what Java clients use: a key has one partition whoever wrote it
    ("partitioner", "murmur2_random"),
];

#[derive(Debug, Clone)]
pub struct ProduceOptions {
    pub kafka: KafkaOptions,
    pub topic: String,
    /// Partitions of a topic that is made; one that exists is left as it is.
    pub partitions: i32,
    /// Replicas of a topic that is made; the broker's default where `None`.
    pub replication: Option<i32>,
    pub feed: FeedOptions,
    /// How long the broker may take to answer at the start.
    pub connect_timeout: Duration,
    /// How long a shutdown waits for acknowledgements.
    pub drain_timeout: Duration,
}

impl Default for ProduceOptions {
    fn default() -> Self {
        Self {
            kafka: KafkaOptions::default(),
            topic: "trades".to_owned(),
            partitions: 10,
            replication: None,
            feed: FeedOptions::default(),
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl ProduceOptions {
    /// Refuses settings that cannot work, before anything is started.
    pub fn check(&self) -> Result<()> {
        let legal = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(legal) {
            return Err(Error::Invalid(format!(
                "`{}` cannot name a topic; use up to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`",
                self.topic
            )));
        }
        if self.partitions < 1 {
            return Err(Error::Invalid(format!(
                "a topic has at least 1 partition, not {}",
                self.partitions
            )));
        }
        if self.kafka.librdkafka.contains_key("transactional.id") {
            return Err(Error::Invalid(
                "librdkafka option `transactional.id` has no use here; remove it from the librdkafka section"
                    .to_owned(),
            ));
        }
        self.client_config()?;
        self.feed.check()
    }

    pub(super) fn client_config(&self) -> Result<ClientConfig> {
        self.kafka.client_config(DEFAULTS, FIXED)
    }
}

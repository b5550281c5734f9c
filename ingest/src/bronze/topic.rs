//! Which topic this is, and a small client that asks the cluster about it: id, partitions, log start and end.
//!
//! The client never reads records; the consumer of `consumer` does.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::topic_id::{self, TopicDescription, TopicId};
use crate::error::{Error, Result};
use crate::kafka::KafkaOptions;

/// One topic of one cluster. A topic deleted and made again under its name is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicIdentity {
    pub cluster_id: String,
    pub name: String,
    pub id: TopicId,
}

impl fmt::Display for TopicIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (id {} in cluster {})", self.name, self.id, self.cluster_id)
    }
}

/// First offset that the log still holds, and the offset after the last one that a read_committed consumer may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    pub start: i64,
    pub end: i64,
}

/// Longest wait for one answer about the topic.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

pub struct TopicClient {
    consumer: BaseConsumer<QuietContext>,
    kafka: KafkaOptions,
    topic: String,
}

impl TopicClient {
    pub fn new(kafka: &KafkaOptions, topic: &str) -> Result<Self> {
        let fixed = [
            ("isolation.level", "read_committed"),
            ("allow.auto.create.topics", "false"),
        ];
        let mut config = kafka.client_config(&[], &fixed)?;
        config.set_log_level(RDKafkaLogLevel::Error);
        let consumer = config
            .create_with_context(QuietContext)
            .map_err(|source| kafka.error("making a Kafka client", source))?;
        Ok(Self {
            consumer,
            kafka: kafka.clone(),
            topic: topic.to_owned(),
        })
    }

    fn client(&self) -> &Client<QuietContext> {
        self.consumer.client()
    }

    /// Blocks. `None` where the topic does not exist.
    pub fn describe(&self) -> Result<Option<TopicDescription>> {
        match topic_id::describe(self.client(), &self.topic, REQUEST_TIMEOUT) {
            Ok(description) => Ok(Some(description)),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Err(code) => Err(self.error("describing the topic", KafkaError::AdminOp(code))),
        }
    }

    /// Blocks. The cluster's id without the one character that app ids use themselves.
    pub fn cluster_id(&self) -> Result<String> {
        match self.client().fetch_cluster_id(REQUEST_TIMEOUT) {
            Some(id) if !id.is_empty() => Ok(id.replace('/', "_")),
            _ => Err(self.error(
                "asking for the cluster id",
                KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut),
            )),
        }
    }

    /// Blocks.
    pub fn log_range(&self, partition: i32) -> Result<LogRange> {
        let (start, end) = self
            .consumer
            .fetch_watermarks(&self.topic, partition, REQUEST_TIMEOUT)
            .map_err(|source| self.error("asking for a partition's first and last offset", source))?;
        Ok(LogRange { start, end })
    }

    /// Serves the client's own events, so that they do not pile up while nothing else calls it.
    pub fn serve(&self) {
        let until = Instant::now() + Duration::from_millis(10);
        while Instant::now() < until && self.consumer.poll(Duration::ZERO).is_some() {}
    }

    fn error(&self, what: &'static str, source: KafkaError) -> Error {
        self.kafka.error(what, source)
    }
}

/// The consumer's context reports the broker's troubles; a second voice for the same troubles helps nobody.
struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, _level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(target: "librdkafka", fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

impl ConsumerContext for QuietContext {}

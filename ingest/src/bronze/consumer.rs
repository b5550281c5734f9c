//! The consumer of the topic: the settings that exactly-once stands on, and what the group and the broker say besides records.
//!
//! Rebalances are queued for the fetch stage, which decides offsets and answers them; nothing here assigns by itself except while closing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings::rd_kafka_resp_err_t as RespErr;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::options::BronzeOptions;
use super::positions::Positions;
use super::status::BronzeStatus;
use crate::error::{Error, Result};

/// Nobody overrides these: bronze is exactly once only with them.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("group.protocol", "classic"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];

/// Good for a high rate in bounded memory; a user may know better.
const DEFAULTS: &[(&str, &str)] = &[
    // A restart within the session keeps its partitions.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
    // What librdkafka may hold beyond what this program holds. The default of 64 MiB a consumer is kept in mind by tests of memory.
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "200000"),
    ("fetch.max.bytes", "16777216"),
    ("fetch.message.max.bytes", "4194304"),
    // The default of a second would stand still after each full queue.
    ("fetch.queue.backoff.ms", "10"),
    // New partitions are seen within this.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("reconnect.backoff.max.ms", "5000"),
];

/// Longest wait for an answer to assign, unassign and the like.
const CLOSE_POLL: Duration = Duration::from_millis(100);

/// What the group asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    Assign(Vec<i32>),
    Revoke(Vec<i32>),
}

pub struct Context {
    status: Arc<BronzeStatus>,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", fac, message);
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(target: "librdkafka", fac, message),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", fac, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition travels as an error too.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.status.noted(reason);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RespErr, partitions: &mut TopicPartitionList) {
        let numbers: Vec<i32> = partitions
            .elements()
            .iter()
            .map(|element| element.partition())
            .collect();
        let assign = err == RespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer = if assign {
                consumer.incremental_assign(partitions)
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "rebalance while closing");
            }
            return;
        }
        let rebalance = if assign {
            Rebalance::Assign(numbers)
        } else {
            Rebalance::Revoke(numbers)
        };
        self.rebalances.lock().push_back(rebalance);
    }
}

/// The consumer and the topic it reads.
pub struct TopicConsumer {
    pub inner: BaseConsumer<Context>,
    topic: String,
    kafka: crate::kafka::KafkaOptions,
}

impl TopicConsumer {
    pub fn new(options: &BronzeOptions, status: Arc<BronzeStatus>) -> Result<Self> {
        let mut fixed = FIXED.to_vec();
        fixed.push(("group.id", options.group.as_str()));
        if let Some(instance_id) = &options.instance_id {
            fixed.push(("group.instance.id", instance_id.as_str()));
        }
        let mut config = options.kafka.client_config(DEFAULTS, &fixed)?;
        config.set_log_level(RDKafkaLogLevel::Info);
        let context = Context {
            status,
            rebalances: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let inner = config
            .create_with_context(context)
            .map_err(|source| options.kafka.error("making the Kafka consumer", source))?;
        Ok(Self {
            inner,
            topic: options.topic.clone(),
            kafka: options.kafka.clone(),
        })
    }

    /// Joins the group, which will deal out partitions by [`Rebalance::Assign`].
    pub fn join(&self) -> Result<()> {
        self.inner
            .subscribe(&[&self.topic])
            .map_err(|source| self.error("joining the consumer group", source))
    }

    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.inner.client().context().rebalances.lock().pop_front()
    }

    /// Starts to read `starts`, besides what is read already.
    pub fn assign(&self, starts: &Positions) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(starts.len());
        for (partition, offset) in starts {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
                .map_err(|source| self.error("naming the start of a partition", source))?;
        }
        self.inner
            .incremental_assign(&list)
            .map_err(|source| self.error("assigning partitions", source))
    }

    /// Stops to read `partitions` and throws away what was fetched of them. Call only between polls whose records are all taken over or given up.
    pub fn unassign(&self, partitions: impl Iterator<Item = i32>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        self.inner
            .incremental_unassign(&list)
            .map_err(|source| self.error("giving partitions up", source))
    }

    /// Next offsets as librdkafka knows them, control markers included; partitions without one are left out.
    pub fn positions(&self) -> Result<Positions> {
        let list = self
            .inner
            .position()
            .map_err(|source| self.error("asking for consumer positions", source))?;
        let known = list
            .elements()
            .into_iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            });
        Ok(known.collect())
    }

    /// Leaves: a static member keeps its place for the session timeout. Blocks until librdkafka is done.
    pub fn close(self) {
        self.inner.client().context().closing.store(true, Ordering::Release);
        // What was queued and never answered would keep the group member waiting for ever.
        while let Some(rebalance) = self.next_rebalance() {
            let answer = match rebalance {
                Rebalance::Assign(_) => self.assign(&Positions::new()),
                Rebalance::Revoke(partitions) => self.unassign(partitions.into_iter()),
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "rebalance while closing");
            }
        }
        let _ = self.inner.poll(CLOSE_POLL);
    }

    fn error(&self, what: &'static str, source: KafkaError) -> Error {
        self.kafka.error(what, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exactly_once_stands_on_cannot_be_overridden() {
        for (name, value) in [
            ("enable.auto.commit", "true"),
            ("auto.commit.enable", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_uncommitted"),
            ("enable.partition.eof", "false"),
            ("group.id", "other"),
            ("bootstrap.servers", "elsewhere:9092"),
        ] {
            let mut options = BronzeOptions::default();
            options.kafka.librdkafka.insert(name.to_owned(), value.to_owned());
            let error = TopicConsumer::new(&options, Arc::default()).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{name}");
            assert!(error.to_string().contains(name), "{name}: {error}");
        }
        let mut options = BronzeOptions::default();
        options
            .kafka
            .librdkafka
            .insert("fetch.wait.max.ms".to_owned(), "50".to_owned());
        TopicConsumer::new(&options, Arc::default()).map(|_| ()).unwrap();
    }
}

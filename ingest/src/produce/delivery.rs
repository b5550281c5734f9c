//! The delivery thread: takes batches from the feed's queue into librdkafka and does not lose sight of them until they are acknowledged.
//!
//! A full librdkafka queue makes it wait; a fatal error makes a new producer; what came back is sent again. Only the drain deadline
//! after a shutdown makes it give up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use ticklake_sql::Clock;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::outcome::{Callbacks, Outcomes, Returned, is_permanent, is_topic_missing};
use super::{ProduceOptions, ProduceStatus, topic};
use crate::error::Result;
use crate::feed::sink::Batch;

/// How long an idle thread waits before it looks for returned records.
const IDLE: Duration = Duration::from_millis(50);
/// librdkafka's queue drains by thousands a millisecond once it drains at all.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);
/// What a purge of a failed producer's queue may take.
const PURGE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

type KafkaProducer = ThreadedProducer<Callbacks>;

pub(super) struct Delivery {
    config: ClientConfig,
    options: ProduceOptions,
    producer: Option<KafkaProducer>,
    outcomes: Arc<Outcomes>,
    deadline: Deadline,
    backoff: ExponentialBackoff,
    delivered_at_backoff: u64,
    runtime: Handle,
}

/// The drain deadline has passed.
#[derive(Debug)]
struct GaveUp;

impl Delivery {
    pub fn connect(
        options: &ProduceOptions,
        clock: Clock,
        status: Arc<ProduceStatus>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let config = options.client_config()?;
        let outcomes = Outcomes::new(status, clock);
        let producer: KafkaProducer = config
            .create_with_context(Callbacks(Arc::clone(&outcomes)))
            .map_err(|source| options.kafka.error("cannot make a producer for the broker", source))?;
        Ok(Self {
            config,
            options: options.clone(),
            producer: Some(producer),
            outcomes,
            deadline: Deadline {
                shutdown,
                patience: options.drain_timeout,
                since: None,
            },
            backoff: backoff(),
            delivered_at_backoff: 0,
            runtime: Handle::current(),
        })
    }

    /// Runs until the feed's end of the queue is gone and everything is acknowledged, or the drain deadline. Blocks its thread.
    pub fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        if self.carry(&mut batches).is_err() {
            tracing::warn!(
                drain_timeout_ms = self.options.drain_timeout.as_millis() as u64,
                "drain deadline passed"
            );
        }
    }

    fn carry(&mut self, batches: &mut mpsc::Receiver<Batch>) -> Result<(), GaveUp> {
        loop {
            self.resend()?;
            match self
                .runtime
                .block_on(async { tokio::time::timeout(IDLE, batches.recv()).await })
            {
                Ok(Some(batch)) => {
                    for (key, value) in batch.records() {
                        self.send(key, value)?;
                    }
                }
                Ok(None) => break,
                Err(_) => self.deadline.check()?,
            }
        }
        while self.outcomes.has_returned() || self.in_flight() > 0 {
            self.resend()?;
            self.deadline.check()?;
            if let Some(producer) = &self.producer {
                let _ = producer.flush(IDLE);
            }
        }
        Ok(())
    }

    fn in_flight(&self) -> i32 {
        self.producer.as_ref().map_or(0, Producer::in_flight_count)
    }

    /// Queues one record, however long it takes.
    fn send(&mut self, key: &[u8], value: &[u8]) -> Result<(), GaveUp> {
        loop {
            if self.outcomes.is_fatal() {
                self.renew()?;
            }
            let Some(producer) = &self.producer else {
                self.renew()?;
                continue;
            };
            let record = BaseRecord::to(&self.options.topic).key(key).payload(value);
            let Err((error, _)) = producer.send(record) else {
                return Ok(());
            };
            match error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail) {
                RDKafkaErrorCode::QueueFull => {
                    self.outcomes.status.queue_full.fetch_add(1, Ordering::Relaxed);
                    self.deadline.check()?;
                    std::thread::sleep(QUEUE_FULL_PAUSE);
                }
                RDKafkaErrorCode::Fatal => self.outcomes.set_fatal(true),
                code if is_permanent(code) => {
                    self.outcomes.reject(code);
                    return Ok(());
                }
                code => {
                    self.outcomes.note(format!("cannot queue a record: {code}"));
                    self.pause()?;
                    if is_topic_missing(code) {
                        self.make_topic();
                    }
                }
            }
        }
    }

    /// Sends again what came back.
    fn resend(&mut self) -> Result<(), GaveUp> {
        if self.outcomes.is_fatal() {
            self.renew()?;
        }
        if !self.outcomes.has_returned() {
            return Ok(());
        }
        self.pause()?;
        if self.outcomes.take_topic_missing() {
            self.make_topic();
        }
        let mut records = self.outcomes.take_returned();
        while let Some(Returned { key, value }) = records.pop_front() {
            self.send(&key, &value)?;
            self.outcomes.status.resent.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A new producer in place of one that failed for good. What the old one still held comes back and is sent again: some of it may
    /// have arrived, and a repeat is removed by its key later, where a loss could not be repaired.
    fn renew(&mut self) -> Result<(), GaveUp> {
        if let Some(failed) = self.producer.take() {
            failed.purge(PurgeConfig::default().queue().inflight());
            let _ = failed.flush(PURGE_TIMEOUT);
        }
        self.outcomes.set_fatal(false);
        while self.producer.is_none() {
            self.pause()?;
            match self.config.create_with_context(Callbacks(Arc::clone(&self.outcomes))) {
                Ok(producer) => self.producer = Some(producer),
                Err(error) => self.outcomes.note(
                    self.options
                        .kafka
                        .error("cannot make a new producer", error)
                        .to_string(),
                ),
            }
        }
        self.outcomes.status.renewals.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("a new producer took the place of one that failed");
        Ok(())
    }

    fn make_topic(&self) {
        if let Err(error) = self.runtime.block_on(topic::ensure(&self.options)) {
            self.outcomes.note(error.to_string());
        }
    }

    /// Waits a little longer each time until deliveries succeed again.
    fn pause(&mut self) -> Result<(), GaveUp> {
        let delivered = self.outcomes.status.delivered.load(Ordering::Relaxed);
        if delivered != self.delivered_at_backoff {
            self.delivered_at_backoff = delivered;
            self.backoff = backoff();
        }
        let until = Instant::now() + self.backoff.next().unwrap_or(RETRY_MAX);
        loop {
            self.deadline.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(IDLE));
        }
    }
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(RETRY_MIN)
        .with_max_delay(RETRY_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Runs from the shutdown on.
struct Deadline {
    shutdown: CancellationToken,
    patience: Duration,
    since: Option<Instant>,
}

impl Deadline {
    fn check(&mut self) -> Result<(), GaveUp> {
        if !self.shutdown.is_cancelled() {
            return Ok(());
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() >= self.patience {
            Err(GaveUp)
        } else {
            Ok(())
        }
    }
}

//! Trades -> Kafka: one feed, one topic, every record acknowledged by all replicas or told of.
//!
//! `run` wires a feed to the delivery thread; the queue between them is the back-pressure. `topic` makes the topic, `status` tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::feed::{self, FeedContext, Sink};

mod options;

mod topic;

mod delivery;

mod outcome;

pub mod status;

pub use options::ProduceOptions;
pub use status::ProduceStatus;

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceReport {
    /// Acknowledged by the broker.
    pub delivered: u64,
    /// Refused by the broker for what they are, for example too large.
    pub rejected: u64,
    /// Given up at the drain deadline.
    pub undelivered: u64,
    pub elapsed: Duration,
}

/// Runs until the feed ends or the shutdown, then drains. An unreachable broker is an error only before the first record.
pub async fn run(
    options: ProduceOptions,
    clock: Clock,
    status: Arc<ProduceStatus>,
    shutdown: CancellationToken,
) -> Result<ProduceReport> {
    options.check()?;
    let started = Instant::now();
    status.set_target(&options.kafka.bootstrap_servers, &options.topic);
    let partitions = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(report(&status, started)),
        partitions = topic::ensure(&options) => partitions?,
    };
    status.partitions.store(partitions as u64, Ordering::Relaxed);

    let (sink, batches) = Sink::new(Arc::clone(&status.feed));
    let delivery = delivery::Delivery::connect(&options, clock.clone(), Arc::clone(&status), shutdown.clone())?;
    let delivering = tokio::task::spawn_blocking(move || delivery.run(batches));
    let context = FeedContext {
        clock,
        status: Arc::clone(&status.feed),
        shutdown,
    };
    let fed = feed::run(options.feed, sink, context).await;
    delivering
        .await
        .map_err(|error| Error::Internal(format!("the delivery thread ended abruptly: {error}")))?;

    let report = report(&status, started);
    status.undelivered.store(report.undelivered, Ordering::Relaxed);
    tracing::info!(
        topic = options.topic,
        delivered = report.delivered,
        rejected = report.rejected,
        undelivered = report.undelivered,
        elapsed_ms = report.elapsed.as_millis() as u64,
        "producer drained"
    );
    fed.map(|()| report)
}

fn report(status: &ProduceStatus, started: Instant) -> ProduceReport {
    let delivered = status.delivered.load(Ordering::Relaxed);
    let rejected = status.rejected.load(Ordering::Relaxed);
    let undelivered = status.pushed().saturating_sub(delivered).saturating_sub(rejected);
    ProduceReport {
        delivered,
        rejected,
        undelivered,
        elapsed: started.elapsed(),
    }
}

#[cfg(test)]
mod tests;

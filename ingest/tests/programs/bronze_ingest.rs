//! Kafka -> bronze as a process of its own, for the tests that kill it: BROKERS TOPIC LAKE [INSTANCE]. SIGTERM drains.

use std::sync::Arc;
use std::time::Duration;

use ticklake_ingest::bronze::{self, BronzeOptions};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let kafka = KafkaOptions {
        bootstrap_servers: next(),
        ..KafkaOptions::default()
    };
    let topic = next();
    let lake_options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    let lake = Lake::open(&next(), lake_options, Clock::system())?;
    let instance_id = Some(next()).filter(|name| !name.is_empty());
    let options = BronzeOptions {
        kafka,
        group: format!("{topic}-group"),
        topic,
        instance_id,
        // Many commits, so that a kill finds every point of one.
        commit_rows: 20_000,
        commit_age: Duration::from_millis(50),
        topic_check_interval: Duration::from_millis(500),
        ..BronzeOptions::default()
    };
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    bronze::run(options, lake, Arc::default(), shutdown).await?;
    Ok(())
}

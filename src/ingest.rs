//! `ticklake ingest`: Kafka into bronze until a signal comes, or to the end offsets seen at the start.

use std::sync::Arc;

use ticklake_ingest::bronze::{self, BronzeStatus};
use ticklake_sql::Durability;

use crate::config::Settings;
use crate::heartbeat::Heartbeat;
use crate::{options, shutdown};

#[allow(clippy::print_stdout)]
pub async fn run(settings: &Settings, until_latest: bool) -> anyhow::Result<()> {
    let options = options::bronze(settings, until_latest)?;
    let lake = options::lake_to_write(settings, Durability::Sync)?;
    let shutdown = shutdown::on_signal()?;
    let status = Arc::new(BronzeStatus::default());
    let shown = status.clone();
    let heartbeat = Heartbeat::start(&lake, "ingest", vec![("ingest", Arc::new(move || shown.snapshot()))]);
    let ended = bronze::run(options, lake, status, shutdown).await;
    heartbeat.stop().await;
    let report = ended?;
    if until_latest {
        println!(
            "{} records: {} rows, {} dead letters, {} commits",
            report.records, report.rows, report.dead_letters, report.commits
        );
    }
    Ok(())
}

//! `ticklake produce`: one feed into Kafka until it ends or a signal comes.

use std::path::Path;
use std::sync::Arc;

use ticklake_ingest::produce::{self, ProduceStatus};
use ticklake_sql::{Clock, Durability};

use crate::config::Settings;
use crate::heartbeat::Heartbeat;
use crate::{options, shutdown};

pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let options = options::produce(settings)?;
    let shutdown = shutdown::on_signal()?;
    let status = Arc::new(ProduceStatus::default());
    // The role itself needs no lake: it leaves its heartbeat where there is one.
    let heartbeat = match !settings.lake.uri.is_empty() || Path::new(&settings.lake_uri()).is_dir() {
        true => {
            let lake = options::lake(settings, Durability::Sync)?;
            let shown = status.clone();
            Some(Heartbeat::start(
                &lake,
                "produce",
                vec![("produce", Arc::new(move || shown.snapshot()))],
            ))
        }
        false => None,
    };
    let ended = produce::run(options, Clock::system(), status, shutdown).await;
    if let Some(heartbeat) = heartbeat {
        heartbeat.stop().await;
    }
    ended?;
    Ok(())
}

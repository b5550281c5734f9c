//! Trims the embedded broker's log once a minute: what bronze holds and is old enough goes. A failure shows in `status`: the log grows meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ticklake_ingest::bronze::BronzeStatus;
use ticklake_sql::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stage::StageState;
use crate::embedded_broker::Trimmer;

const INTERVAL: Duration = Duration::from_secs(60);

pub struct BrokerUpkeep {
    pub state: Arc<StageState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub fn start(
    trimmer: Trimmer,
    topic: String,
    retention: Duration,
    clock: Clock,
    status: Arc<BronzeStatus>,
) -> BrokerUpkeep {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let state = Arc::new(StageState::default());
    state.set("running");
    let shown = state.clone();
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stopped.cancelled() => return,
                _ = tokio::time::sleep(INTERVAL) => {}
            }
            // Positions as committed to bronze: what lies below them can be read from there for ever.
            let positions: Vec<_> = status.positions().into_iter().collect();
            let before_ms = clock.now().timestamp_millis() - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            match trimmer.trim(&topic, &positions, before_ms).await {
                Ok(dropped) => {
                    shown.set("running");
                    tracing::debug!(dropped, "embedded broker trimmed");
                }
                Err(error) => {
                    let error = format!("the embedded broker's log is not trimmed: {error:#}");
                    tracing::warn!(error, "upkeep failed");
                    shown.failed(&error, clock.now_us());
                }
            }
        }
    });
    BrokerUpkeep { state, stop, task }
}

impl BrokerUpkeep {
    pub async fn stop(self) {
        self.stop.cancel();
        let _ended = self.task.await;
    }
}

//! Trims the embedded broker's log once a minute: what bronze holds and is old enough goes. A failure shows in `status`: the log grows meanwhile.

use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stage::StageState;
use crate::embedded_broker::Trimmer;

pub const INTERVAL: Duration = Duration::from_secs(60);

pub struct BrokerUpkeep {
    pub state: Arc<StageState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Every `interval`, of `topic`: what lies below the `positions` that bronze has committed and is older than `retention`.
pub fn start(
    trimmer: Trimmer,
    topic: String,
    positions: impl Fn() -> Vec<(i32, i64)> + Send + 'static,
    retention: Duration,
    clock: Clock,
    interval: Duration,
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
                _ = tokio::time::sleep(interval) => {}
            }
            let before_ms = clock.now().timestamp_millis() - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            match trimmer.trim(&topic, &positions(), before_ms).await {
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::{Value, json};

    use super::*;
    use crate::embedded_broker::{BrokerOptions, EmbeddedBroker};

    async fn until(state: &StageState, what: &str, condition: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let shown = state.around(json!({}));
            if condition(&shown) {
                return;
            }
            assert!(Instant::now() < deadline, "not within 30 s: {what}: {shown}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_log_that_cannot_be_trimmed_shows_in_the_status() {
        let folder = tempfile::tempdir().unwrap();
        let options = BrokerOptions {
            addr: "127.0.0.1:0".to_owned(),
            folder: folder.path().join("broker"),
        };
        let broker = EmbeddedBroker::start(options).await.unwrap();
        let trimmer = broker.trimmer();
        broker.stop().await;
        // A folder where the log was.
        let moved = folder.path().join("moved");
        std::fs::rename(folder.path().join("broker"), &moved).unwrap();
        for entry in std::fs::read_dir(&moved).unwrap() {
            std::fs::create_dir_all(folder.path().join("broker").join(entry.unwrap().file_name())).unwrap();
        }
        let upkeep = start(
            trimmer,
            "trades".to_owned(),
            || vec![(0, 5)],
            Duration::ZERO,
            Clock::system(),
            Duration::from_millis(10),
        );
        until(&upkeep.state, "it is told", |shown| {
            let error = shown["stage_error"]["message"].as_str().unwrap_or_default();
            error.contains("the embedded broker's log is not trimmed") && shown["stage_failures"].as_u64() >= Some(1)
        })
        .await;
        // And is over when the log is there again.
        std::fs::remove_dir_all(folder.path().join("broker")).unwrap();
        std::fs::rename(&moved, folder.path().join("broker")).unwrap();
        until(&upkeep.state, "it trims again", |shown| shown["stage"] == "running").await;
        upkeep.stop().await;
    }
}

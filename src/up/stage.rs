//! A stage of `up`: kept running until it is told to stop. What goes wrong is logged, shown in `status`, and tried again.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use ticklake_sql::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::{is_usage, sentence};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// What the drain of a stage may take at most; each has a shorter limit of its own.
const DRAIN: Duration = Duration::from_secs(25);

/// How a stage stands, for the heartbeat. Times are microseconds since the epoch.
#[derive(Debug, Default)]
pub struct StageState(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: &'static str,
    failures: u64,
    last_error: Option<(String, i64)>,
}

impl StageState {
    /// The stage's own snapshot with what happened around it.
    pub fn around(&self, mut snapshot: Value) -> Value {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let error = inner
            .last_error
            .as_ref()
            .map(|(message, at_us)| json!({ "message": message, "at_us": at_us }));
        if let Some(fields) = snapshot.as_object_mut() {
            fields.insert("stage".to_owned(), inner.state.into());
            fields.insert("stage_failures".to_owned(), inner.failures.into());
            fields.insert("stage_error".to_owned(), error.into());
        }
        snapshot
    }

    pub(super) fn set(&self, state: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).state = state;
    }

    pub(super) fn failed(&self, message: &str, at_us: i64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state = "failed, trying again";
        inner.failures += 1;
        inner.last_error = Some((message.to_owned(), at_us));
    }
}

/// A stage that runs.
pub struct Stage {
    pub state: Arc<StageState>,
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A stage that does not run yet.
pub struct NewStage {
    name: &'static str,
    clock: Clock,
    fatal: CancellationToken,
}

impl Stage {
    /// Tells it to drain, waits for that, and says what stopped it for good.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        match tokio::time::timeout(DRAIN, &mut self.task).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(aborted)) => Err(anyhow::anyhow!("stage {} broke off: {aborted}", self.name)),
            Err(_) => {
                self.task.abort();
                Err(anyhow::anyhow!(
                    "stage {} did not drain within {} s",
                    self.name,
                    DRAIN.as_secs()
                ))
            }
        }
    }
}

impl NewStage {
    /// `fatal` is cancelled when the stage meets what only the user can mend.
    pub fn new(name: &'static str, clock: Clock, fatal: CancellationToken) -> Self {
        Self { name, clock, fatal }
    }

    pub fn start<F, Fut>(self, mut run: F) -> Stage
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let state = Arc::new(StageState::default());
        let stop = CancellationToken::new();
        let (name, fatal) = (self.name, self.fatal);
        let running = {
            let (state, stop, again) = (state.clone(), stop.clone(), stop.clone());
            async move {
                let ended = keep_running(name, state, self.clock, stop, move || run(again.clone())).await;
                if ended.is_err() {
                    fatal.cancel();
                }
                ended
            }
        };
        Stage {
            state,
            name,
            stop,
            task: tokio::spawn(running),
        }
    }
}

/// Runs `start` until it ends well or `stop`; an error starts it again after a growing delay.
/// An error that only the user can mend (usage, configuration) is returned at once.
async fn keep_running<F, Fut>(
    name: &'static str,
    state: Arc<StageState>,
    clock: Clock,
    stop: CancellationToken,
    mut start: F,
) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut delay = FIRST_DELAY;
    loop {
        state.set("running");
        // A task of its own, so that a panic is an error like any other.
        let ended = tokio::spawn(start())
            .await
            .unwrap_or_else(|panicked| Err(anyhow::anyhow!("broke off: {panicked}")));
        let Err(error) = ended else {
            state.set("ended");
            if !stop.is_cancelled() {
                tracing::info!(stage = name, "stage ended: nothing more to do");
            }
            return Ok(());
        };
        if is_usage(&error) {
            return Err(error);
        }
        let message = sentence(&error);
        tracing::error!(
            stage = name,
            error = message,
            retry_in_ms = delay.as_millis() as u64,
            "stage failed"
        );
        state.failed(&message, clock.now_us());
        tokio::select! {
            _ = stop.cancelled() => return Ok(()),
            _ = tokio::time::sleep(delay) => delay = (delay * 2).min(LONGEST_DELAY),
        }
    }
}

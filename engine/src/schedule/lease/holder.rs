//! The process as a holder of leases: an object that it writes again and again shows that it lives, and tells it the store's time.
//!
//! It counts on its leases from the beginning of a write that succeeded for as long as the lease's time. Others wait that long and a second
//! more, by the store's time of the object.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use ticklake_sql::Lake;
use ticklake_sql::error::chain;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::FOLDER;
use super::process::Process;
use crate::{Error, Result};

/// Objects of holders that nobody has heard of for so long are swept away.
const SWEPT_AFTER: TimeDelta = TimeDelta::days(1);
/// Nobody waits longer than this for the end of a role.
const LAST_REQUEST: Duration = Duration::from_secs(3);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Holder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lake: Lake,
    id: String,
    process: Process,
    time: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is held is held until then.
    until: Option<Instant>,
    /// The store's time of the newest write.
    written_at: Option<DateTime<Utc>>,
    /// Times that `until` has passed before the next write: what was held before may have gone to another.
    lapses: u64,
}

impl Holder {
    /// `time`: how long a process that is not heard of keeps its leases.
    pub fn new(lake: &Lake, time: Duration) -> Self {
        Self(Arc::new(Inner {
            lake: lake.clone(),
            id: format!("{:032x}", rand::random::<u128>()),
            process: Process::current(),
            time,
            state: Mutex::default(),
        }))
    }

    pub fn id(&self) -> &str {
        &self.0.id
    }

    pub fn process(&self) -> &Process {
        &self.0.process
    }

    pub fn time(&self) -> Duration {
        self.0.time
    }

    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.0.lake.object_store()
    }

    /// How often it says that it lives, and how often others look.
    pub fn beat(&self) -> Duration {
        self.0.time / 3
    }

    /// Path of a holder's object.
    pub fn path(id: &str) -> Path {
        Path::from(format!("{FOLDER}/holders/{id}"))
    }

    /// Which stretch without a lapse this is; None: what is held may have gone to another.
    pub fn tenure(&self) -> Option<u64> {
        let state = self.state();
        let counts = state.until.is_some_and(|until| Instant::now() < until);
        counts.then_some(state.lapses)
    }

    /// The store's time when this process last wrote: no later than now.
    pub fn store_time(&self) -> Option<DateTime<Utc>> {
        self.state().written_at
    }

    /// Writes the object and looks when that was.
    pub async fn renew(&self) -> Result<()> {
        let begun = Instant::now();
        let (store, path) = (self.store(), Self::path(&self.0.id));
        let failed = |source| lease_error("renew the leases of this process", &path, source);
        let content = json!({ "process": self.0.process }).to_string();
        store.put(&path, content.into()).await.map_err(failed)?;
        let written_at = store.head(&path).await.map_err(failed)?.last_modified;
        let mut state = self.state();
        // Another may have taken over between the old end and the moment in which this write landed.
        if state.until.is_some_and(|until| until <= Instant::now()) {
            state.lapses += 1;
        }
        state.until = Some(begun + self.0.time);
        state.written_at = Some(written_at);
        Ok(())
    }

    /// Renews until `stop`; then the object goes.
    pub async fn keep(self, stop: CancellationToken) {
        self.sweep().await;
        let mut failing = false;
        loop {
            let renewed = tokio::select! {
                () = stop.cancelled() => break,
                renewed = self.renew() => renewed,
            };
            match &renewed {
                Err(error) if !failing => {
                    let error = chain(error);
                    tracing::warn!(
                        error,
                        "leases cannot be renewed, trying again; another process may take the jobs over"
                    );
                }
                Ok(()) if failing => tracing::info!("leases are renewed again"),
                _ => {}
            }
            failing = renewed.is_err();
            let pause = if failing { self.beat() / 4 } else { self.beat() };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        let store = self.store();
        let _late = tokio::time::timeout(LAST_REQUEST, store.delete(&Self::path(&self.0.id))).await;
    }

    /// What killed processes left behind. The next holder of their jobs finds no object and takes them for gone.
    async fn sweep(&self) {
        let store = self.store();
        let folder = Path::from(format!("{FOLDER}/holders"));
        let found = store
            .list(Some(&folder))
            .try_collect::<Vec<_>>()
            .await
            .unwrap_or_default();
        let newest = found.iter().map(|object| object.last_modified).max();
        for object in &found {
            if newest.is_some_and(|newest| newest - object.last_modified > SWEPT_AFTER) {
                let _next_time = store.delete(&object.location).await;
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn lease_error(step: &'static str, path: &Path, source: object_store::Error) -> Error {
    Error::sql(
        step,
        ticklake_sql::Error::Store {
            what: "no answer",
            location: path.to_string(),
            source,
        },
    )
}

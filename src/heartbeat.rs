//! Every role leaves a small object in the lake every two seconds: what it does, how far it is, and its last error.
//!
//! `<lake>/_ticklake/status/<role>-<instance>.json`. `ticklake status` reads them; nothing else depends on them.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value, json};
use ticklake_sql::{Lake, RequestKind, Requests};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const FOLDER: &str = "_ticklake/status";
const INTERVAL: Duration = Duration::from_secs(2);
/// Heartbeats of processes gone this long are swept away by the next one of their role.
const KEPT: Duration = Duration::from_secs(3_600);
/// A store that hangs must not hold up the end of a role.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Name of a stage (`produce`, `ingest`, ...) and what it says about itself.
pub type Stage = (&'static str, Arc<dyn Fn() -> Value + Send + Sync>);

/// Writes until stopped; the last one says `stopped`.
pub struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    pub fn start(lake: &Lake, role: &'static str, stages: Vec<Stage>) -> Self {
        let stop = CancellationToken::new();
        let beat = Beat {
            lake: lake.clone(),
            role,
            instance: instance(),
            started_us: lake.clock().now_us(),
            stages,
        };
        let task = tokio::spawn(beat.run(stop.clone()));
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        let _late = tokio::time::timeout(LAST_WRITE_TIMEOUT, self.task).await;
    }
}

struct Beat {
    lake: Lake,
    role: &'static str,
    instance: String,
    started_us: i64,
    stages: Vec<Stage>,
}

impl Beat {
    async fn run(self, stop: CancellationToken) {
        let store = self.lake.object_store();
        if let Err(error) = self.sweep(&store).await {
            tracing::debug!(%error, "old heartbeats stay");
        }
        let mut failing = false;
        loop {
            let stopped = stop.is_cancelled();
            let written = store.put(&self.path(), self.content(stopped).to_string().into()).await;
            if let (Err(error), false) = (&written, failing) {
                tracing::warn!(%error, "cannot write the heartbeat; status will look old");
            }
            failing = written.is_err();
            if stopped {
                return;
            }
            tokio::select! {
                _ = stop.cancelled() => {}
                _ = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn path(&self) -> Path {
        Path::from(format!("{FOLDER}/{}-{}.json", self.role, self.instance))
    }

    fn content(&self, stopped: bool) -> Value {
        let stages: Map<String, Value> = self
            .stages
            .iter()
            .map(|(name, stage)| ((*name).to_owned(), stage()))
            .collect();
        json!({
            "role": self.role,
            "instance": self.instance,
            "state": if stopped { "stopped" } else { "running" },
            "version": env!("CARGO_PKG_VERSION"),
            "started_us": self.started_us,
            "at_us": self.lake.clock().now_us(),
            "stages": stages,
            "requests": self.lake.requests().map(|requests| requests_json(requests)),
        })
    }

    async fn sweep(&self, store: &Arc<dyn ObjectStore>) -> object_store::Result<()> {
        let oldest = self.lake.clock().now() - KEPT;
        let files: Vec<_> = store.list(Some(&Path::from(FOLDER))).try_collect().await?;
        for file in files {
            let ours = file
                .location
                .filename()
                .is_some_and(|name| name.starts_with(&format!("{}-", self.role)));
            if ours && file.last_modified < oldest {
                store.delete(&file.location).await?;
            }
        }
        Ok(())
    }
}

/// Requests to the store by kind, in the last hour and since the start.
pub fn requests_json(requests: &Requests) -> Value {
    let by_kind = |counts: [(RequestKind, u64); RequestKind::ALL.len()]| -> Value {
        let counts = counts.map(|(kind, count)| (kind.name().to_owned(), Value::from(count)));
        Value::Object(counts.into_iter().collect())
    };
    json!({ "last_hour": by_kind(requests.last_hour()), "total": by_kind(requests.total()) })
}

/// This process among others of its role: host and process number.
pub fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    format!(
        "{}-{}",
        if host.is_empty() { "host" } else { &host },
        std::process::id()
    )
}

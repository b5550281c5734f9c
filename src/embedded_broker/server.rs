//! Accepts Kafka clients on loopback and answers them from Tansu's storage engine.
//!
//! Tansu runs its storage as one task behind a channel and lets it die at the first panic or lost answer, after which every
//! request fails. So the engine is pinged, and opened again (with the same file) when it is gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use libsql::Database;
use rama::Service;
use tansu_broker::coordinator::group::administrator::Controller;
use tansu_storage::{BrokerRegistrationRequest, Storage, StorageContainer};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::location::{StorageUrl, storage_url};
use super::requests::{self, Gate};
use super::trim::Trimmer;

/// Part of the position's app id in bronze: must never change.
pub const CLUSTER_ID: &str = "ticklake-embedded";
const NODE_ID: i32 = 1;
/// File of the broker's log in its folder.
pub const FILE: &str = "broker.db";
/// How soon a dead storage engine is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const LOCKED_FOR: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// More clients than this one process and a few tools ever open.
const MAX_CONNECTIONS: usize = 256;

#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// `host:port`; port 0 picks a free one.
    pub addr: String,
    /// Folder of the log; made where it is missing.
    pub folder: PathBuf,
}

/// A running broker. Dropping it stops it.
pub struct EmbeddedBroker {
    addr: SocketAddr,
    trimmer: Trimmer,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl EmbeddedBroker {
    /// Listens and serves until `stop`. What was acknowledged survives a restart on the same folder.
    pub async fn start(options: BrokerOptions) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(&options.addr).await.with_context(|| {
            format!(
                "cannot listen for Kafka clients on {}; choose another --kafka-addr",
                options.addr
            )
        })?;
        let addr = listener.local_addr()?;
        std::fs::create_dir_all(&options.folder)
            .with_context(|| format!("cannot make the broker's folder {}", options.folder.display()))?;
        let location = storage_url(&options.folder, FILE)?;
        let advertised = Url::parse(&format!("tcp://{addr}"))?;
        let engine = Engine::open(&location.url, &advertised).await?;
        let gate = Gate::default();
        let trimmer = Trimmer::new(options.folder.join(FILE), gate.clone());
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, engine, gate, location, advertised, stop.clone()));
        Ok(Self {
            addr,
            trimmer,
            stop,
            task,
        })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Forgets old records, see [`Trimmer::trim`].
    pub fn trimmer(&self) -> Trimmer {
        self.trimmer.clone()
    }

    /// Closes all connections and the file.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ended = (&mut self.task).await;
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Tansu's storage and group coordinator over one open file.
#[derive(Clone)]
struct Engine {
    storage: StorageContainer,
    groups: Controller<StorageContainer>,
    /// The same file, for readers.
    file: Arc<Database>,
    stop: CancellationToken,
}

impl Engine {
    /// An engine that has just stopped holds its file for a moment longer.
    async fn open(location: &Url, advertised: &Url) -> anyhow::Result<Self> {
        let since = Instant::now();
        loop {
            match Self::try_open(location, advertised).await {
                Err(error) if since.elapsed() < LOCKED_FOR && error.to_string().contains("database is locked") => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(location: &Url, advertised: &Url) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let storage = StorageContainer::builder()
            .cluster_id(CLUSTER_ID)
            .node_id(NODE_ID)
            .advertised_listener(advertised.clone())
            .storage(location.clone())
            .cancellation(stop.clone())
            .silent(true)
            .build()
            .await
            .map_err(|error| anyhow::anyhow!("cannot open the broker's log {}: {error}", location.path()))?;
        let registration = BrokerRegistrationRequest {
            broker_id: NODE_ID,
            cluster_id: CLUSTER_ID.to_owned(),
            incarnation_id: Uuid::new_v4(),
            rack: None,
        };
        let registered = storage.register_broker(registration).await;
        registered.map_err(|error| anyhow::anyhow!("cannot write the broker's log {}: {error}", location.path()))?;
        let groups = Controller::with_storage(storage.clone())?;
        let path = location.path().strip_prefix('/').unwrap_or(location.path());
        let file = Arc::new(
            libsql::Builder::new_local(path)
                .build()
                .await
                .context("cannot read the broker's log")?,
        );
        Ok(Self {
            storage,
            groups,
            file,
            stop,
        })
    }
}

async fn serve(
    listener: TcpListener,
    mut engine: Engine,
    gate: Gate,
    location: StorageUrl,
    advertised: Url,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut ping = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            _ = stop.cancelled() => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let _best_effort = stream.set_nodelay(true);
                    match requests::service(CLUSTER_ID, engine.groups.clone(), engine.storage.clone(), engine.file.clone(), gate.clone()) {
                        // A closed connection ends in an error too: nothing to tell.
                        Ok(service) => drop(connections.spawn(async move { drop(service.serve(rama::Context::default(), stream).await) })),
                        Err(error) => tracing::error!(%error, "embedded broker cannot serve a connection"),
                    }
                }
                Err(error) => tracing::warn!(%error, "embedded broker cannot accept a connection"),
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = ping.tick() => if engine.storage.ping().await.is_err() {
                tracing::warn!("embedded broker's storage stopped; opening it again");
                connections.abort_all();
                engine.stop.cancel();
                match Engine::open(&location.url, &advertised).await {
                    Ok(opened) => engine = opened,
                    Err(error) => tracing::error!(error = %format!("{error:#}"), "embedded broker's storage does not open"),
                }
            },
        }
    }
    // Connections go first: the engine must not lose the one whose answer it is about to send.
    connections.shutdown().await;
    engine.stop.cancel();
}

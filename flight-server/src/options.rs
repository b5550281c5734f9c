//! What a server can be told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::transport::TlsFiles;

#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Serve plain text on an address that is not loopback; who may log in is another matter.
    pub insecure: bool,
    /// Who may log in; None: everyone is the anonymous reader, on loopback only.
    pub users_file: Option<PathBuf>,
    pub tls: Option<TlsFiles>,
    /// Key that signs tickets, handles and bearers, 32 bytes or more; None: a random one, so that they die with the process.
    pub signing_key: Option<Secret>,
    /// Keys whose tokens are still accepted.
    pub previous_signing_keys: Vec<Secret>,
    /// Threads that run queries, apart from those that serve the network; 0: as many as there are cores.
    pub query_threads: usize,
    /// Memory that all queries together may hold before they spill.
    pub memory_bytes: usize,
    /// Disk that spilled data may take.
    pub spill_bytes: u64,
    /// Folder for spilled data; None: the system's.
    pub spill_dir: Option<PathBuf>,
    /// Parquet footers and page indexes kept in memory.
    pub metadata_cache_bytes: usize,
    /// Queries that run at once; more wait.
    pub max_running: usize,
    /// Queries that wait; more are refused.
    pub max_queued: usize,
    /// The same of one user, so that nobody takes every place.
    pub max_running_per_user: usize,
    pub max_queued_per_user: usize,
    /// From the call to the last byte of the result.
    pub query_timeout: Duration,
    /// Rows that one result may have, and bytes as they are sent; more is an error, never a shorter result.
    pub max_rows: u64,
    pub max_bytes: u64,
    /// Older data than this is not ready, as `/health/ready` tells it; None: any age is.
    pub ready_max_age: Option<Duration>,
    /// Bearer that `/metrics` asks for.
    pub metrics_token: Option<Secret>,
    /// What else `/metrics` tells.
    pub figures: Option<Figures>,
    /// Statements stand in the log and in `system.queries` as their digest only.
    pub redact_sql: bool,
    /// Bytes of a statement.
    pub max_statement_bytes: usize,
    /// A client that takes nothing of its result for this long, or of whose request the next message takes longer to come, is cut off: it holds a
    /// place that others wait for.
    pub reader_timeout: Duration,
    /// Between the empty batches that a client gets while its query computes and has no rows: proxies cut connections that are silent for
    /// longer. Zero: none.
    pub idle_batch_every: Duration,
    /// Open connections of one listener; more wait in the system's queue.
    pub max_connections: usize,
    /// What a connection may take until it has shaken hands over TLS and begun to speak HTTP.
    pub handshake_timeout: Duration,
    /// And until a call on it was let in, where there are users.
    pub log_in_timeout: Duration,
    /// Between pings to a client; one that does not answer for as long again is gone.
    pub keepalive: Duration,
    /// Life of a ticket and of a prepared statement's handle.
    pub ticket_lifetime: Duration,
    pub bearer_lifetime: Duration,
    /// How often the next commit is looked for while there are queries.
    pub poll_interval: Duration,
    /// How often without queries for so long.
    pub idle_poll_interval: Duration,
    pub active_for: Duration,
    /// What running streams get at shutdown.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            users_file: None,
            tls: None,
            signing_key: None,
            previous_signing_keys: Vec::new(),
            query_threads: 0,
            memory_bytes: 1 << 30,
            spill_bytes: 10 << 30,
            spill_dir: None,
            metadata_cache_bytes: 128 << 20,
            max_running: 8,
            max_queued: 256,
            max_running_per_user: 6,
            max_queued_per_user: 128,
            query_timeout: Duration::from_secs(300),
            max_rows: u64::MAX,
            max_bytes: u64::MAX,
            ready_max_age: None,
            metrics_token: None,
            figures: None,
            redact_sql: false,
            max_statement_bytes: 1 << 20,
            reader_timeout: Duration::from_secs(60),
            idle_batch_every: Duration::from_secs(5),
            max_connections: 4_096,
            handshake_timeout: Duration::from_secs(10),
            log_in_timeout: Duration::from_secs(60),
            keepalive: Duration::from_secs(20),
            ticket_lifetime: Duration::from_secs(24 * 3600),
            bearer_lifetime: Duration::from_secs(30 * 24 * 3600),
            poll_interval: Duration::from_millis(100),
            idle_poll_interval: Duration::from_secs(30),
            active_for: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Further lines of `/metrics` in Prometheus's text format, made at each scrape.
#[derive(Clone)]
pub struct Figures(pub Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>);

impl std::fmt::Debug for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("figures")
    }
}

/// Bytes that never reach a log.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

//! The server, what a query may take, and those who ask it.

use serde::{Deserialize, Serialize};

use super::DAY_S;
use crate::config::units::{Size, Span};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSettings {
    pub flight_addr: String,
    /// Health and metrics; empty: none.
    pub http_addr: String,
    /// Older data is not ready, as `/health/ready` tells it; "0s": any age is.
    pub ready_max_age: Span,
    /// Bearer that `/metrics` asks for; empty: none.
    pub metrics_token: String,
    /// Serve plain text on an address that is not loopback, where something else encrypts.
    pub insecure: bool,
    /// Who may log in, as `ticklake user` writes it; empty: `users.toml` in the data folder where it is there, else everyone, on
    /// loopback only.
    pub users_file: String,
    /// PEM files; both empty: no encryption.
    pub tls_cert: String,
    pub tls_key: String,
    /// Authority of client certificates, which name their user; empty: none are asked for.
    pub tls_client_ca: String,
    /// Signs tickets and log-ins, 32 characters or more; several replicas share it. Empty: the key file says.
    pub signing_key: String,
    /// A key a line in hex, the first signs; empty: `server.key` in the data folder, made where it is missing.
    pub signing_key_file: String,
    /// How long a log-in lasts.
    pub login_lifetime: Span,
    /// Memory that all queries together may hold before they spill.
    pub memory: Size,
    /// Disk that spilled data may take.
    pub spill: Size,
    /// Folder for spilled data; empty: the system's.
    pub spill_dir: String,
    /// Threads that run queries; 0: as many as there are cores.
    pub query_threads: u32,
    /// Queries that run at once; more wait, and above `max_queued` they are refused.
    pub max_running: u32,
    pub max_queued: u32,
    /// The same of one user, where there are users.
    pub max_running_per_user: u32,
    pub max_queued_per_user: u32,
    /// From the call to the last byte of the result; a client may ask for less.
    pub query_timeout: Span,
    /// Rows that one result may have, and bytes as they are sent; 0: no bound. More is an error, never a shorter result.
    pub max_rows: u64,
    pub max_bytes: Size,
    /// Bytes of a statement's text.
    pub max_statement: Size,
    /// A client that takes nothing of its result for this long is cut off, and so is one whose bound values take longer to come.
    pub reader_timeout: Span,
    /// Between the empty batches that a client gets while its query computes and has no rows, so that no proxy cuts it off; "0s": none.
    pub idle_batch_every: Span,
    /// Open connections of each listener; more wait.
    pub max_connections: u32,
    /// What a connection may take until it has shaken hands over TLS and begun to speak.
    pub handshake_timeout: Span,
    /// What running queries get when the server stops.
    pub drain_timeout: Span,
    /// Statements stand in the log and in `system.queries` as their digest only.
    pub redact_sql: bool,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            flight_addr: "127.0.0.1:50051".to_owned(),
            http_addr: "127.0.0.1:8080".to_owned(),
            ready_max_age: Span::seconds(0),
            metrics_token: String::new(),
            insecure: false,
            users_file: String::new(),
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            signing_key: String::new(),
            signing_key_file: String::new(),
            login_lifetime: Span::seconds(30 * DAY_S),
            memory: Size(1 << 30),
            spill: Size(10 << 30),
            spill_dir: String::new(),
            query_threads: 0,
            max_running: 8,
            max_queued: 256,
            max_running_per_user: 6,
            max_queued_per_user: 128,
            query_timeout: Span::seconds(300),
            max_rows: 0,
            max_bytes: Size(0),
            max_statement: Size(1 << 20),
            reader_timeout: Span::seconds(60),
            idle_batch_every: Span::seconds(5),
            max_connections: 4_096,
            handshake_timeout: Span::seconds(10),
            drain_timeout: Span::seconds(10),
            redact_sql: false,
        }
    }
}

/// Where `ticklake query` goes and as whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// `HOST:PORT`, or `grpc+tls://HOST:PORT`.
    pub server: String,
    /// Authority of the server's certificate, PEM.
    pub tls_ca: String,
    pub token: String,
    pub user: String,
    pub password: String,
}

impl Default for QuerySettings {
    fn default() -> Self {
        let empty = String::new();
        Self {
            server: "127.0.0.1:50051".to_owned(),
            tls_ca: empty.clone(),
            token: empty.clone(),
            user: empty.clone(),
            password: empty,
        }
    }
}

//! SQL faces over the lake, read-only: Arrow Flight SQL. One query path behind every face.
//!
//! Reading order: `server` accepts over `transport`, and `identity` says who calls; `wire` and `service` dispatch to one file per RPC family (`statement`, `prepared`,
//! `catalog`, `keys`, `info`, `xdbc`, `session`, `handshake`); `engine` is the query path (`plan`, `snapshot`, `scan`, `stream`);
//! `ticket`, `parameters`, `placeholders`, `profile` and `output` are what goes over the wire.

mod error;
mod options;
mod server;
mod status;

mod identity;
mod transport;

mod bindings;
mod caller;
mod catalog;
mod handshake;
mod info;
mod keys;
mod prepared;
mod service;
mod session;
mod statement;
mod wire;
mod xdbc;

mod bounds;
mod dropped;
mod engine;
mod frames;
mod limits;
mod plan;
mod plan_cache;
mod runs;
mod stream;
mod yielding;

mod files;
mod scan;
mod schemas;
mod skip;
mod snapshot;
mod version;

mod output;
mod parameters;
mod placeholders;
mod profile;
mod ticket;

pub use error::{Error, ErrorKind, Result};
pub use identity::{TokenSummary, UserSummary, UsersFile};
pub use options::{Secret, ServerOptions};
pub use server::serve;
pub use status::ServerStatus;
pub use ticket::new_signing_key;
pub use transport::TlsFiles;

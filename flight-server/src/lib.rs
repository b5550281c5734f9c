//! SQL faces over the lake, read-only: Arrow Flight SQL. One query path behind every face.
//!
//! Reading order: `server` accepts; `wire` and `service` dispatch to one file per RPC family (`statement`, `prepared`,
//! `catalog`, `keys`, `info`, `xdbc`, `session`); `engine` is the query path (`plan`, `snapshot`, `scan`, `stream`);
//! `ticket`, `parameters`, `placeholders`, `profile` and `output` are what goes over the wire.

mod error;
mod options;
mod server;
mod status;

mod bindings;
mod caller;
mod catalog;
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
mod snapshot;
mod version;

mod output;
mod parameters;
mod placeholders;
mod profile;
mod ticket;

pub use error::{Error, ErrorKind, Result};
pub use options::{Secret, ServerOptions};
pub use server::serve;
pub use status::ServerStatus;
pub use ticket::new_signing_key;

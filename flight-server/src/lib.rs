//! SQL faces over the lake, read-only: Arrow Flight SQL. One query path behind every face.
//!
//! Reading order: `server` accepts; `wire` and `service` dispatch to one file per RPC family (`statement`, `prepared`,
//! `catalog`, `keys`, `info`, `xdbc`, `session`); `engine` is the query path (`plan`, `snapshot`, `scan`, `stream`);
//! `ticket`, `parameters`, `placeholders`, `profile` and `output` are what goes over the wire.

mod server;
mod options;
mod status;
mod error;

mod wire;
mod service;
mod caller;
mod statement;
mod prepared;
mod bindings;
mod catalog;
mod keys;
mod info;
mod xdbc;
mod session;

mod engine;
mod plan;
mod plan_cache;
mod limits;
mod yielding;
mod stream;

mod snapshot;
mod version;
mod files;
mod scan;
mod schemas;

mod ticket;
mod parameters;
mod placeholders;
mod profile;
mod output;

pub use error::{Error, ErrorKind, Result};
pub use options::{Secret, ServerOptions};
pub use server::serve;
pub use status::ServerStatus;

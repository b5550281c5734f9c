//! SQL faces over the lake, read-only: Arrow Flight SQL. One query path behind every face.
//!
//! Reading order: `server` accepts over `transport`, lets in by `identity` and bounds what arrives (`arriving`); `wire` and `service` dispatch to one file per RPC
//! family (`handshake`, `statement`, `prepared`, `catalog`, `keys`, `info`, `xdbc`, `actions`, `cancel`, `session`); `engine` is the query path (`plan`, `snapshot`, `scan`, `stream`);
//! `ticket`, `parameters`, `values`, `placeholders`, `profile` and `output` are what goes over the wire.

mod error;
mod options;
mod server;
mod status;

mod arriving;
mod followed;
mod health;
mod identity;
mod transport;

mod actions;
mod bindings;
mod caller;
mod cancel;
mod catalog;
mod handshake;
mod info;
mod keys;
mod prepared;
mod service;
mod session;
mod session_cookie;
mod session_messages;
mod statement;
mod trailers;
mod wire;
mod xdbc;

mod admission;
mod bind;
mod body;
mod bounding;
mod bounds;
mod compact;
mod costly;
mod database;
mod dropped;
mod engine;
mod frames;
#[cfg(test)]
mod function_classes;
mod functions;
mod growing;
mod guard;
mod known_at;
mod latest;
mod limits;
mod memory;
mod message_size;
mod patterns;
mod plan;
mod plan_cache;
mod planned;
mod queries;
mod quotient;
mod read_once;
mod runs;
mod stream;
mod system;
mod table_function;
mod travel;
mod walk;
mod yielding;

mod files;
mod footers;
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
mod values;

#[cfg(fuzzing)]
pub mod fuzzing;

pub use error::{Error, ErrorKind, Result};
pub use identity::{TokenSummary, UserSummary, UsersFile};
pub use options::{Figures, Secret, ServerOptions};
pub use server::{Listeners, serve};
pub use status::ServerStatus;
pub use ticket::new_signing_key;
pub use transport::TlsFiles;

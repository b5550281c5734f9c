//! The contract between the crates: table definitions as SQL text, and the one way to open, write and commit a Delta table.
//!
//! Reading order: `ddl` and `tables` say what a table is, `app_ids` under what names its log says how far it has come, `lake` and `table` open it, `data_file` writes rows,
//! `commit` makes them visible, `lease` lets one process of several do so, `log` reads what others committed, `offset_ranges` says which records a file of bronze holds. No program logic: what to write is the callers' business.

pub mod checks;
pub mod ddl;
pub mod import;
pub mod models;
pub mod prices;
pub mod symbols;
pub mod tables;

pub mod app_ids;
mod checkpoint;
mod create;
mod history;
pub mod lake;
mod local_disk;
mod log_state;
mod page_cache;
mod probe;
mod recent;
mod requests;
mod statistics;
mod store;
pub mod table;
mod tip;

pub mod commit;
pub mod data_file;
pub mod lease;
pub mod log;
pub mod offset_ranges;

pub mod clock;
pub mod decimal;
pub mod error;
pub mod failpoint;

pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use history::History;
pub use lake::{Durability, Lake, LakeOptions};
pub use lease::Lease;
pub use requests::{RequestKind, Requests};
pub use store::Storage;
pub use table::Table;
pub use tables::TableName;

/// `engineInfo` of every commit, `created_by` of every data file.
pub(crate) const ENGINE_INFO: &str = concat!("ticklake/", env!("CARGO_PKG_VERSION"));

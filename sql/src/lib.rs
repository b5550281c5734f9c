//! The contract between the crates: table definitions as SQL text, and the one way to open, write and commit a Delta table.
//!
//! Reading order: `ddl` and `tables` say what a table is, `lake` and `table` open it, `data_file` writes rows,
//! `commit` makes them visible, `log` reads what others committed. No program logic: what to write is the callers' business.

pub mod clock;
pub mod commit;
pub mod data_file;
pub mod ddl;
pub mod decimal;
pub mod error;
pub mod lake;
pub mod log;
pub mod models;
pub mod table;
pub mod tables;

pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use lake::{Durability, Lake, LakeOptions};
pub use table::Table;
pub use tables::TableName;

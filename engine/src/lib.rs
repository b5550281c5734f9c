//! Turns bronze into silver and silver into gold: incremental refreshes, each a function of its input, and the schedule that runs them.
//!
//! Reading order follows the data: `backfill` loads historical files into bronze, `silver` cleans bronze rows, `ohlcv` is the bar aggregate,
//! `scan` reads silver in order, `gold` keeps the bars, `rebuild` computes a range of both again, `maintenance` keeps the tables healthy,
//! `schedule` runs all of it, `verify` proves that nothing is missing, `parity` holds bars against a venue's candles, `system` keeps what such
//! runs found; `backup` copies a lake and sets tables back, `report` and `status` say what happened.

pub mod backfill;
pub mod backup;
pub mod error;
pub mod gold;
pub mod maintenance;
pub mod ohlcv;
pub mod parity;
pub mod rebuild;
pub mod report;
pub mod scan;
pub mod schedule;
pub mod silver;
pub mod status;
mod system;
pub mod verify;
mod watermarks;

pub use error::{Error, Result};
pub use report::RefreshReport;
pub use status::EngineStatus;

//! `ticklake query`: a Flight SQL client.
//!
//! Reading order: `run` connects and asks, `output` writes table, csv, json or arrow.

mod output;

mod run;

pub use run::run;

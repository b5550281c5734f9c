//! `ticklake query`: a Flight SQL client.
//!
//! Reading order: `run` connects and asks, `output` writes table, csv, json or arrow; `statements` is `ticklake queries`.

mod output;

mod run;

mod statements;

pub use run::run;
pub use statements::queries;

//! The proof that nothing was lost, doubled or miscounted between Kafka and the bars.
//!
//! Reading order: `options` and `report` face the caller. `snapshot` pins the tables' versions, `as_read` finds the rows of older ones, `files` holds
//! the store against the log and `statistics` the log against the footers; `origins` and `offsets` say which records there are, `bronze` and `silver`
//! which ones the tables hold, `ranges` tells the same of bronze from tags alone. `run` is the order of all that, with `layers` for silver, `bars` for
//! gold and `checks` for the statements under `sql/checks/`.
//! What Kafka holds comes in as plain numbers, and what it must be asked goes out as offsets: this crate does not know Kafka.

mod as_read;
mod bars;
mod bronze;
mod checks;
mod files;
mod layers;
mod offsets;
mod options;
mod origins;
mod ranges;
mod report;
mod run;
mod silver;
mod snapshot;
mod statistics;

pub(crate) use as_read::AsRead;
pub use checks::{CheckResult, check_and_record, run_checks};
pub use options::{Mode, VerifyOptions};
pub use origins::Topic;
pub use report::{Difference, Missing, Report};
pub use run::verify;
pub(crate) use snapshot::Snapshot;

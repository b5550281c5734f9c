//! Keeping tables healthy: small files merged, files that nothing needs deleted, partitions past their time taken out. Never changes what a
//! query sees (retention apart), runs beside live appends, and may be killed between any two instructions.
//!
//! Reading order: `lineage` says what is derived from what and how far it has come, `low_water` what a table still vouches for; `active` holds
//! the files of a table, `entries` reads its log, `replace` commits beside other writers; `optimize`, `vacuum` and `retention` are the jobs, `cluster` brings a
//! table into another layout.

mod active;
pub(crate) mod entries;
pub(crate) mod lineage;
pub(crate) mod low_water;
mod replace;

pub mod cluster;
pub mod optimize;
pub mod retention;
pub mod vacuum;

pub use cluster::{ClusterReport, cluster};
pub use optimize::{OptimizeOptions, OptimizeReport, optimize};
pub use retention::{RetentionOptions, RetentionReport, retain};
pub use vacuum::{VacuumOptions, VacuumReport, vacuum};

#[cfg(test)]
mod tests;

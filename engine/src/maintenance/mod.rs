//! Keeping tables healthy: small files merged, files that nothing needs deleted. Never changes what a query sees, runs beside live appends, and may be killed between any two
//! instructions.
//!
//! Reading order: `lineage` says what is derived from what and how far it has come, `active` holds the files of a table, `entries` reads its
//! log, `replace` commits beside other writers; `optimize` and `vacuum` are the jobs.

mod active;
mod entries;
mod failpoint;
pub(crate) mod lineage;
mod replace;

pub mod optimize;
pub mod vacuum;

pub use optimize::{OptimizeOptions, OptimizeReport, optimize};
pub use vacuum::{VacuumOptions, VacuumReport, vacuum};

#[cfg(test)]
mod tests;

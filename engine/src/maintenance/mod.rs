//! Keeping tables healthy: small files merged. Never changes what a query sees, runs beside live appends, and may be killed between any two
//! instructions.
//!
//! Reading order: `lineage` says what is derived from what and how far it has come, `active` holds the files of a table, `replace` commits
//! beside other writers; `optimize` is the job.

mod active;
mod failpoint;
pub(crate) mod lineage;
mod replace;

pub mod optimize;

pub use optimize::{OptimizeOptions, OptimizeReport, optimize};

#[cfg(test)]
mod tests;

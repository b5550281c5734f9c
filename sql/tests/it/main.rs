//! The table layer on local disk, in memory, and over a store that fails on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checkpoints;
mod commits;
mod creation;
mod faults;
mod faulty_store;
mod leases;
#[cfg(all(feature = "azure", feature = "gcs"))]
mod patience;
mod round_trip;
mod rows;
mod statistics;

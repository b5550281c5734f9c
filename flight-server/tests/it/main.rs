//! A real server on a free port over a real lake in a temporary folder, asked by arrow-flight's Flight SQL client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalogs;
mod connections;
mod faults;
mod fixture;
mod followed;
mod health;
mod identity;
mod lanes;
mod latest;
mod limits;
mod mutations;
mod newest;
mod prepared;
mod refusals;
mod results;
mod rights;
mod serving;
mod sessions;
mod snapshots;
mod stalling;

//! End-to-end tests of the `ticklake` binary, as its users run it. Reading order: `process`, `broker` and `lake` are the tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backfill;
mod broker;
mod configuration;
mod guarantees;
mod known_at;
mod lake;
mod login;
mod maintenance;
#[cfg(feature = "services")]
mod outages;
mod process;
mod replay;
mod roles;
#[cfg(feature = "services")]
mod service;
mod star;
mod up;
mod verify;

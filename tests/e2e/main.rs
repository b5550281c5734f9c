//! End-to-end tests of the `ticklake` binary, as its users run it. Reading order: `process`, `broker`, `lake`, `made` and `tampered` are the tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backfill;
mod backup;
mod behind;
mod broker;
mod configuration;
mod earlier_lake;
mod guarantees;
mod kills;
mod known_at;
mod lake;
mod layout;
mod login;
mod made;
mod maintenance;
#[cfg(feature = "services")]
mod outages;
mod parity;
mod process;
mod rebuild;
mod replay;
mod roles;
mod schedules;
#[cfg(feature = "services")]
mod service;
mod set_aside;
mod star;
mod tampered;
mod up;
mod verify;
mod weekly;

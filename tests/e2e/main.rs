//! End-to-end tests of the `ticklake` binary, as its users run it. Reading order: `process`, `broker` and `lake` are the tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod configuration;
mod lake;
mod process;
mod replay;
mod roles;
mod star;
mod up;

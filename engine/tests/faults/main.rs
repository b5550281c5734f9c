//! Every job of the engine on a store that fails: requests refused, answers lost, bodies and uploads torn, listings slow and cut short, no room left;
//! and under a clock that goes backwards. In the end each table holds what it would have held without.
//!
//! Reading order: `world` is a small lake in which every job finds something to do, `jobs` are the jobs, `store` fails as told, the rest are the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod full_disk;
mod jobs;
mod seeded;
mod store;
mod torn_upload;
mod world;

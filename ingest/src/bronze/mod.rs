//! Kafka -> bronze, each record once: `bronze.trades` where it decodes, `bronze.dead_letters` where it does not.
//!
//! Reading order: `options` and `status` face the caller. `topic_id` and `topic` say which topic this is, `positions` where the tables stand in it,
//! `lost_position` what happens where that place is gone. `record_chunk` -> `decode` -> `columns` / `dead_letters` is the way of a record,
//! `pipeline` the threads that carry it, `until_latest` a run with an end, `checkpoints` the tables' log upkeep. `rework` takes dead letters up
//! again, `records` tells holes from losses.

pub mod options;

pub mod status;

pub mod topic_id;

pub mod topic;

pub mod positions;

pub mod lost_position;

pub mod records;

mod start;

mod record_chunk;

pub mod decode;

mod columns;

mod dead_letters;

mod rows_of;

pub mod rework;

mod consumer;

mod pipeline;

mod until_latest;

mod checkpoints;

pub use options::{BronzeOptions, OnLostPosition};
pub use pipeline::{BronzeReport, run};
pub use status::BronzeStatus;

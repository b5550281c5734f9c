//! Trades in: `feed` -> canonical `trade` -> `produce` -> Kafka -> `bronze` tables.
//!
//! Reading order: `trade` is the one record shape, `feed` makes such records from a venue, a simulator or a file,
//! `produce` carries them to the topic, `bronze` carries the topic into Delta tables. `kafka` is how both ends reach the broker.

pub mod trade;

pub mod feed;

pub mod kafka;

pub mod produce;

pub mod bronze;

pub mod error;

pub use error::{Error, ErrorKind, Result};

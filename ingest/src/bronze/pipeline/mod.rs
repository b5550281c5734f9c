//! The threads between Kafka and the tables: fetch -> build -> write -> commit, each stage bounded, in order all the way.
//!
//! fetch (thread): polls the consumer, decides where a flush ends. build (thread): decodes into columns. write (thread): Parquet files.
//! commit (task): dead letters first, then the main table with its positions. What stands in the tables' logs is the only progress there is;
//! every stage may be killed at any point. An epoch counts how often fetch went back to the recorded positions: what carries an older one is dropped.

mod ask;

mod message;

mod shared;

mod backoff;

mod fetch;

mod assignment;

mod build;

mod write;

mod commit;

mod commit_info;

mod topic_watch;

mod run;

pub use run::{BronzeReport, run};
pub use shared::Shared;

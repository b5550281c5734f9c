//! A table brought into another layout: partitioned by what the settings say, or its files into the table's order where another writer left them in
//! none. The same rows in other files: no query and no refresh sees a difference.
//!
//! Reading order: `plan` says which files are rewritten together, `partitions` rewrites a whole table in one commit beside writers that never stop,
//! `sorted` puts single files in order; `job` is what a user asks for.

mod job;
mod partitions;
mod plan;
mod report;
mod sorted;

pub use job::cluster;
pub use report::ClusterReport;

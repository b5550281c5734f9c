//! Small files of a partition merged into large ones: the same rows, in the table's order, in fewer files. No query sees a difference.
//!
//! Reading order: `options`; `plan` says which files become one; `order` is the order of a table's rows, `source` reads rows in it, `chunk`
//! sorts those that are not, `merge` makes one stream of many, `spill` keeps what does not fit; `checksum` proves that nothing was lost,
//! `tags` carries over what Adds say of their files, `output` encodes files and reads them back; `rewrite` makes one file of many and `job` commits it.

pub(super) mod checksum;
mod chunk;
mod job;
mod merge;
mod options;
pub(super) mod order;
mod output;
pub(super) mod plan;
mod report;
pub(super) mod rewrite;
pub(super) mod source;
mod spill;
mod tags;

pub use job::optimize;
pub use options::OptimizeOptions;
pub use report::OptimizeReport;

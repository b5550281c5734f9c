//! Files that no version inside the time-travel window needs, deleted: those that commits took out, and those that never came into one.
//!
//! Reading order: `options`; `window` says what must stay; `tombstones` finds files to delete in the log, `listing` those that the log does
//! not know; `job` deletes them and records how far the log is done with.

mod job;
mod listing;
mod options;
mod report;
mod tombstones;
mod window;

pub use job::vacuum;
pub use options::VacuumOptions;
pub use report::VacuumReport;

/// A file to delete, as the log or the listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doomed {
    pub path: String,
    pub bytes: u64,
}

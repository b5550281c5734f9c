//! Settings of one table's optimize.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct OptimizeOptions {
    /// Size of a merged file. Files below half of it are small. Inputs and output of a merge are held in memory, encoded.
    pub target_bytes: u64,
    /// Younger files are left alone: their writers are at work next to them.
    pub min_age: Duration,
    /// A partition whose newest file is older than this gets no more: all its small files are merged. In others a file waits until those
    /// smaller than it have grown to half its size, so that no row is rewritten every few minutes.
    pub settled_after: Duration,
    /// Treat every partition as settled.
    pub thorough: bool,
    /// Files read at the same time, over all merges; more are merged in steps through spill files.
    pub open_files: usize,
    /// Merges at the same time.
    pub merges_at_once: usize,
    /// Rows that come unsorted are sorted in memory this much at a time.
    pub sort_bytes: usize,
    pub zstd_level: i32,
    /// Folder of spill files; the system's temporary folder where there is none. They hold the rows decoded, uncompressed.
    pub spill_dir: Option<PathBuf>,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for OptimizeOptions {
    fn default() -> Self {
        Self {
            target_bytes: 64 << 20,
            min_age: Duration::from_secs(10 * 60),
            settled_after: Duration::from_secs(60 * 60),
            thorough: false,
            open_files: 64,
            merges_at_once: 2,
            sort_bytes: 32 << 20,
            zstd_level: 1,
            spill_dir: None,
            dry_run: false,
        }
    }
}

//! How far a backfill is, counted as it goes: what a progress bar shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    files_done: AtomicU64,
    bytes: AtomicU64,
    /// Shared with the readers of the files.
    pub(super) bytes_read: Arc<AtomicU64>,
    rows: AtomicU64,
    bad: AtomicU64,
}

/// All counters at one moment. Bytes are those of the files as they lie there, compressed or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub files: u64,
    pub files_done: u64,
    pub bytes: u64,
    pub bytes_read: u64,
    /// Rows committed.
    pub rows: u64,
    /// Lines set aside.
    pub bad: u64,
}

impl Progress {
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            files: get(&self.files),
            files_done: get(&self.files_done),
            bytes: get(&self.bytes),
            bytes_read: get(&self.bytes_read).min(get(&self.bytes)),
            rows: get(&self.rows),
            bad: get(&self.bad),
        }
    }

    pub(super) fn found(&self, files: usize, bytes: u64) {
        self.files.fetch_add(files as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn file_done(&self) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that need not be read.
    pub(super) fn passed_over(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, rows: u64, bad: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bad.fetch_add(bad as u64, Ordering::Relaxed);
    }
}

//! What one run of a job did: the source of its row in the history.

use std::time::Duration;

use crate::RefreshReport;
use crate::maintenance::{OptimizeReport, RetentionReport, VacuumReport};

/// How a call of a job ended well.
#[derive(Debug)]
pub enum Outcome {
    Ran(Box<Ran>),
    /// Another process runs the job. Look again after this time.
    StoodBy {
        by: String,
        again: Duration,
    },
}

#[derive(Debug, Clone, Default)]
pub struct Ran {
    pub rows_in: u64,
    pub rows_out: u64,
    pub files_added: u64,
    pub files_removed: u64,
    /// Versions of the input: stood at, and read to.
    pub input_from: Option<u64>,
    pub input_to: Option<u64>,
    /// Worth a row: something was read, changed or found.
    pub effect: bool,
    /// Of a refresh.
    pub report: Option<RefreshReport>,
}

impl Ran {
    pub fn refreshed(report: RefreshReport) -> Self {
        Self {
            rows_in: report.rows_in,
            rows_out: report.rows_out,
            files_added: report.files_added,
            files_removed: report.files_removed,
            input_from: report.input_from,
            input_to: report.input_to,
            effect: report.rows_in > 0 || report.changed(),
            report: Some(report),
        }
    }

    pub fn optimized(&mut self, report: &OptimizeReport) {
        self.rows_in += report.rows;
        self.rows_out += report.rows;
        self.files(report.files_added, report.files_removed);
    }

    pub fn vacuumed(&mut self, report: &VacuumReport) {
        self.files(0, report.files);
    }

    pub fn retained(&mut self, report: &RetentionReport) {
        self.rows_in += report.rows;
        self.files(0, report.files);
    }

    /// Data files, or checkpoints.
    pub fn files(&mut self, added: u64, removed: u64) {
        self.files_added += added;
        self.files_removed += removed;
        self.effect |= added + removed > 0;
    }
}

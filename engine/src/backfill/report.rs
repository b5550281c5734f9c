//! What became of each file.

use chrono::NaiveDate;

use super::bad_line::{BadLine, Class};
use crate::Error;

/// Bad lines of a file that a report names; the others are counted, and all stand in bronze.dead_letters.
const NAMED: usize = 5;

#[derive(Debug, Default)]
pub struct BackfillReport {
    /// In the order in which they were loaded.
    pub files: Vec<FileReport>,
}

#[derive(Debug)]
pub struct FileReport {
    pub address: String,
    /// Of this run.
    pub rows: u64,
    /// Lines set aside in this run.
    pub bad: u64,
    /// The first of them: line and reason.
    pub first_bad: Vec<(i64, String)>,
    /// The file ends in damage; what came before it is loaded.
    pub is_damaged: bool,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Loaded,
    /// It was loaded before: nothing to do.
    AlreadyLoaded,
    /// Other content was loaded under this name: nothing was done.
    Changed {
        loaded_sha256: String,
    },
    /// The other content of this name is out of bronze and this one in. Silver has rows of the old one on the dates of trade from
    /// `from` up to `until`, which is not among them, until they are rebuilt.
    Replaced {
        from: Option<NaiveDate>,
        until: Option<NaiveDate>,
    },
    /// Asked to stop; the next run goes on.
    Stopped,
    Failed(Error),
}

impl FileReport {
    pub fn new(address: &str, outcome: Outcome) -> Self {
        Self {
            address: address.to_owned(),
            rows: 0,
            bad: 0,
            first_bad: Vec::new(),
            is_damaged: false,
            outcome,
        }
    }

    pub(super) fn count(&mut self, rows: u64, bad: &[BadLine]) {
        self.rows += rows;
        self.bad += bad.len() as u64;
        let free = NAMED.saturating_sub(self.first_bad.len());
        let first = bad.iter().take(free).map(|bad| (bad.line, bad.message.clone()));
        self.first_bad.extend(first);
        if let Some(damage) = bad.iter().find(|bad| bad.class == Class::DamagedFile) {
            self.is_damaged = true;
            if !self.first_bad.iter().any(|(line, _)| *line == damage.line) {
                self.first_bad.push((damage.line, damage.message.clone()));
            }
        }
    }
}

impl BackfillReport {
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub fn bad(&self) -> u64 {
        self.files.iter().map(|file| file.bad).sum()
    }

    /// Files of which not everything that they should hold is in bronze.
    pub fn failed(&self) -> impl Iterator<Item = &FileReport> {
        self.files
            .iter()
            .filter(|file| file.is_damaged || matches!(file.outcome, Outcome::Failed(_)))
    }

    pub fn changed(&self) -> impl Iterator<Item = &FileReport> {
        self.files
            .iter()
            .filter(|file| matches!(file.outcome, Outcome::Changed { .. }))
    }
}

//! Settings of vacuum.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct VacuumOptions {
    /// Every version that was the newest one within this time stays readable; `None`: five days, or as long as the table keeps removed files
    /// where that is shorter. Two days less than the log's own retention, or more, so that
    /// a daily run finds in the log what has left the window; what it misses the full listing finds.
    pub time_travel: Option<Duration>,
    /// The least window, whatever is set: longer than any query runs on the version it began with.
    pub floor: Duration,
    /// Files that no log entry names are deleted by a full listing, this long after the last one; `None`: never.
    pub full_every: Option<Duration>,
    /// List now, whenever the last listing was.
    pub full: bool,
    /// Only say what would be deleted.
    pub dry_run: bool,
}

impl Default for VacuumOptions {
    fn default() -> Self {
        Self {
            time_travel: None,
            floor: Duration::from_secs(3600),
            full_every: Some(Duration::from_secs(7 * 24 * 3600)),
            full: false,
            dry_run: false,
        }
    }
}

//! What this process knows of the end of a table's log: the newest version that it committed itself, and which version was the newest and when.
//!
//! Log clean-up takes entries of an age of hours. So what came after a version that was the newest a moment ago is there or was never written,
//! and whoever follows the log need not ask whether clean-up has passed him.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

/// How long a look at the end of the log counts; far below the age at which entries are cleaned up.
const COUNTS: TimeDelta = TimeDelta::minutes(1);

#[derive(Debug)]
pub(crate) struct Tip {
    committed: watch::Sender<u64>,
    /// A version, and a time at which none after it had been written.
    newest: Mutex<Option<(u64, DateTime<Utc>)>>,
}

impl Tip {
    /// `version`: found when this process first opened the table.
    pub fn new(version: u64) -> Self {
        Self {
            committed: watch::Sender::new(version),
            newest: Mutex::default(),
        }
    }

    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// This process has put `version`.
    pub fn commit(&self, version: u64, now: DateTime<Utc>) {
        self.found(version, now);
        self.committed
            .send_if_modified(|newest| std::mem::replace(newest, version.max(*newest)) < version);
    }

    /// `version` was there and the one after it was not, at `at`.
    pub fn found(&self, version: u64, at: DateTime<Utc>) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|(known, _)| known <= version) {
            *newest = Some((version, at));
        }
    }

    /// `version` was read: where the one before it was the newest, it is younger than that look.
    pub fn read(&self, version: u64) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, _)) = newest.as_mut()
            && *known + 1 == version
        {
            *known = version;
        }
    }

    /// What comes after `version`, if anything, is too young to be cleaned up.
    pub fn is_at(&self, version: u64, now: DateTime<Utc>) -> bool {
        let newest = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.is_some_and(|(known, at)| known == version && at <= now && now - at < COUNTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_known_for_a_minute_and_by_no_clock_that_went_back() {
        let at = |second: i64| DateTime::from_timestamp(1_000_000 + second, 0).unwrap();
        let tip = Tip::new(7);
        assert!(!tip.is_at(7, at(0)), "found at some time, the newest perhaps never");
        tip.found(7, at(0));
        assert!(tip.is_at(7, at(59)) && !tip.is_at(7, at(60)) && !tip.is_at(7, at(-1)));
        // Another process's commit, read right behind the look: no older than that.
        tip.read(8);
        assert!(tip.is_at(8, at(59)) && !tip.is_at(8, at(60)) && !tip.is_at(7, at(1)));
        // Read far behind the end: says nothing.
        tip.read(3);
        tip.found(3, at(100));
        assert!(!tip.is_at(3, at(100)) && tip.is_at(8, at(59)));
        tip.commit(9, at(200));
        assert!(tip.is_at(9, at(200)) && *tip.committed().borrow() == 9);
    }
}

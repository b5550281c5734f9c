//! Which window a trade lies in: one of the table's interval from the epoch on, or a session of its venue where daily bars keep sessions.

use std::collections::BTreeMap;

use super::interval::{DAY_US, HOUR_US, Interval};
use super::session::Session;

/// Sessions count in tables of daily bars alone.
#[derive(Debug, Clone)]
pub struct Calendar {
    interval: Interval,
    sessions: BTreeMap<String, Session>,
}

impl Calendar {
    pub fn new(interval: Interval, sessions: &BTreeMap<String, Session>) -> Self {
        let sessions = if interval.width_us() == DAY_US {
            sessions.clone()
        } else {
            BTreeMap::new()
        };
        Self { interval, sessions }
    }

    pub fn interval(&self) -> Interval {
        self.interval
    }

    pub fn sessions(&self) -> &BTreeMap<String, Session> {
        &self.sessions
    }

    /// Start of the window that holds `ts`; `None` between two sessions.
    pub fn start_of(&self, venue: &str, ts: i64) -> Option<i64> {
        match self.sessions.get(venue) {
            Some(session) => session.holding(ts).map(|(start, _)| start),
            None => Some(self.interval.start_of(ts)),
        }
    }

    /// End of the window that starts at `start`.
    pub fn end_of(&self, venue: &str, start: i64) -> i64 {
        let session = self.sessions.get(venue).and_then(|session| session.holding(start));
        session.map_or_else(|| start.saturating_add(self.interval.width_us()), |(_, end)| end)
    }

    /// Between two windows of the venue lies time whose trades are in no bar.
    pub fn has_pauses(&self, venue: &str) -> bool {
        self.sessions.get(venue).is_some_and(|session| !session.is_whole_day())
    }

    /// Bounds of what lies between a window's start and its end.
    pub fn widths_us(&self) -> (i64, i64) {
        let width = self.interval.width_us();
        if self.sessions.is_empty() {
            (width, width)
        } else {
            // A day whose clock is put back.
            (0, width + 4 * HOUR_US)
        }
    }

    /// Windows that start within this time before a day may reach into it.
    pub fn reach_back_us(&self) -> i64 {
        if self.sessions.is_empty() {
            0
        } else {
            self.widths_us().1
        }
    }
}

impl From<Interval> for Calendar {
    /// Without sessions.
    fn from(interval: Interval) -> Self {
        Self {
            interval,
            sessions: BTreeMap::new(),
        }
    }
}

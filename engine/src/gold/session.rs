//! A venue's trading day: from one time of the wall clock to another in a named zone. What lies outside is in no daily bar.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::{Error, Result};

const MINUTES_A_DAY: u32 = 24 * 60;
/// A clock that is put forward skips less than this.
const LONGEST_SKIP_MINUTES: i64 = 4 * 60;

/// `<zone> HH:MM-HH:MM`, whole minutes. An end at or before the start lies on the next day; 24:00 is midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    zone: Tz,
    opens: NaiveTime,
    closes: NaiveTime,
    /// The end lies on the day after the start.
    is_overnight: bool,
}

impl Session {
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::Invalid(format!(
                "`{text}` is no session: write a zone and two times of its clock, e.g. \"America/New_York 09:30-16:00\", or \"Asia/Shanghai 00:00-24:00\" for days"
            ))
        };
        let (zone, times) = text.trim().rsplit_once(' ').ok_or_else(invalid)?;
        let (opens, closes) = times.split_once('-').ok_or_else(invalid)?;
        let minutes = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            (minute < 60 && hour * 60 + minute <= MINUTES_A_DAY).then_some(hour * 60 + minute)
        };
        let (opens, closes) = minutes(opens).zip(minutes(closes)).ok_or_else(invalid)?;
        if opens == MINUTES_A_DAY {
            return Err(invalid());
        }
        let time = |minutes: u32| NaiveTime::from_num_seconds_from_midnight_opt(minutes % MINUTES_A_DAY * 60, 0);
        Ok(Self {
            zone: zone.trim().parse().map_err(|_| invalid())?,
            opens: time(opens).ok_or_else(invalid)?,
            closes: time(closes).ok_or_else(invalid)?,
            is_overnight: closes <= opens || closes == MINUTES_A_DAY,
        })
    }

    /// The session that holds an instant, microseconds since the epoch; half-open. `None` between two.
    pub fn holding(&self, ts: i64) -> Option<(i64, i64)> {
        let date = self.date_of(ts)?;
        let days = [date.checked_sub_days(Days::new(1)), Some(date)];
        let sessions = days.into_iter().flatten().filter_map(|day| self.on(day));
        sessions.into_iter().find(|(start, end)| *start <= ts && ts < *end)
    }

    /// The sessions that start in `[from, until)`, oldest first.
    pub fn starting_in(&self, from: i64, until: i64) -> Vec<(i64, i64)> {
        let (Some(first), Some(last)) = (self.date_of(from), self.date_of(until)) else {
            return Vec::new();
        };
        let days = first.iter_days().take_while(|day| *day <= last);
        let sessions = days.filter_map(|day| self.on(day));
        sessions.filter(|(start, _)| from <= *start && *start < until).collect()
    }

    /// Days are covered from end to end: where one session ends the next begins.
    pub fn is_whole_day(&self) -> bool {
        self.is_overnight && self.opens == self.closes
    }

    fn date_of(&self, ts: i64) -> Option<NaiveDate> {
        let instant = DateTime::<Utc>::from_timestamp_micros(ts)?;
        Some(instant.with_timezone(&self.zone).date_naive())
    }

    /// The session that starts on a day of the zone.
    fn on(&self, day: NaiveDate) -> Option<(i64, i64)> {
        let last = if self.is_overnight {
            day.checked_add_days(Days::new(1))?
        } else {
            day
        };
        let session = (
            self.instant(day.and_time(self.opens))?,
            self.instant(last.and_time(self.closes))?,
        );
        (session.0 < session.1).then_some(session)
    }

    /// Of a time that the clock shows twice the first; of one that it skips the first after the skip.
    fn instant(&self, wall_clock: NaiveDateTime) -> Option<i64> {
        (0..=LONGEST_SKIP_MINUTES).find_map(|minutes| {
            let later = wall_clock.checked_add_signed(TimeDelta::try_minutes(minutes)?)?;
            let instant = self.zone.from_local_datetime(&later).earliest()?;
            Some(instant.timestamp_micros())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn check(session: &str, at: &str, expected: Option<(&str, &str)>) {
        let session = Session::parse(session).unwrap();
        let holding = session.holding(us(at));
        assert_eq!(holding, expected.map(|(start, end)| (us(start), us(end))), "{at}");
        if let Some((start, end)) = holding {
            assert_eq!(session.holding(start), holding);
            assert_eq!(session.holding(end - 1), holding);
            assert_ne!(session.holding(end), holding);
            assert_eq!(session.starting_in(start, start + 1), [(start, end)]);
        }
    }

    const REGULAR: &str = "America/New_York 09:30-16:00";

    #[test]
    fn regular_hours_move_with_daylight_saving() {
        let summer = Some(("2013-10-07T13:30:00Z", "2013-10-07T20:00:00Z"));
        check(REGULAR, "2013-10-07T13:30:00Z", summer);
        check(REGULAR, "2013-10-07T19:59:59.999999Z", summer);
        check(REGULAR, "2013-10-07T20:00:00Z", None);
        check(REGULAR, "2013-10-07T13:29:59.999999Z", None);
        // The Mondays after the clocks went back and forward.
        check(
            REGULAR,
            "2013-11-04T14:30:00Z",
            Some(("2013-11-04T14:30:00Z", "2013-11-04T21:00:00Z")),
        );
        check(REGULAR, "2013-11-04T13:30:00Z", None);
        check(
            REGULAR,
            "2014-03-10T13:30:00Z",
            Some(("2014-03-10T13:30:00Z", "2014-03-10T20:00:00Z")),
        );
    }

    #[test]
    fn extended_hours_of_winter_end_on_the_next_utc_day() {
        let extended = "America/New_York 04:00-20:00";
        check(
            extended,
            "2013-12-07T00:59:59Z",
            Some(("2013-12-06T09:00:00Z", "2013-12-07T01:00:00Z")),
        );
        check(
            extended,
            "2013-10-07T23:59:59Z",
            Some(("2013-10-07T08:00:00Z", "2013-10-08T00:00:00Z")),
        );
    }

    #[test]
    fn days_of_a_zone_have_23_and_25_hours_where_its_clock_is_changed() {
        let days = "America/New_York 00:00-24:00";
        check(
            days,
            "2014-03-09T12:00:00Z",
            Some(("2014-03-09T05:00:00Z", "2014-03-10T04:00:00Z")),
        );
        check(
            days,
            "2013-11-03T12:00:00Z",
            Some(("2013-11-03T04:00:00Z", "2013-11-04T05:00:00Z")),
        );
        let sessions = Session::parse(days).unwrap();
        let year = sessions.starting_in(us("2013-01-01T00:00:00Z"), us("2014-01-01T00:00:00Z"));
        assert_eq!(year.len(), 365);
        assert!(
            year.windows(2).all(|pair| pair[0].1 == pair[1].0),
            "no instant between two days"
        );
        assert!(sessions.is_whole_day() && !Session::parse(REGULAR).unwrap().is_whole_day());
        check(
            "Asia/Shanghai 00:00-24:00",
            "2026-01-01T15:59:59Z",
            Some(("2025-12-31T16:00:00Z", "2026-01-01T16:00:00Z")),
        );
    }

    #[test]
    fn a_session_may_begin_the_evening_before_and_where_the_clock_skips() {
        let globex = "America/Chicago 17:00-16:00";
        check(
            globex,
            "2025-06-03T20:59:59Z",
            Some(("2025-06-02T22:00:00Z", "2025-06-03T21:00:00Z")),
        );
        check(globex, "2025-06-03T21:30:00Z", None);
        // 02:30 was not on the clock that night: the first minute after the skip.
        check(
            "America/New_York 02:30-12:00",
            "2014-03-09T10:00:00Z",
            Some(("2014-03-09T07:00:00Z", "2014-03-09T16:00:00Z")),
        );
    }

    #[test]
    fn what_is_no_session_says_how_one_is_written() {
        for wrong in [
            "",
            "09:30-16:00",
            "America/New_York",
            "Mars/Olympus 09:30-16:00",
            "America/New_York 9-16",
            "UTC 24:00-25:00",
            "UTC 24:00-01:00",
        ] {
            let error = Session::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("America/New_York 09:30-16:00"), "{error}");
        }
    }
}

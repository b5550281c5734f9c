//! When a job is due: an interval such as `5s`, or a cron expression in a time zone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::{Error, Result};

/// Occurrences counted as missed at most: a number for people, not worth more time.
const MAX_MISSED: u64 = 10_000;

#[derive(Debug, Clone)]
pub enum Every {
    /// From one due time to the next.
    Interval(Duration),
    /// Five fields, or six with seconds in front, on the wall clock of the zone.
    Cron { cron: Box<Cron>, zone: Tz },
}

impl Every {
    /// `5s`, `1m 30s`, or a cron expression, which may begin with `TZ=<zone> `; UTC without it.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::Invalid(format!(
                "schedule {text:?} {why}; write an interval such as \"5s\" or a cron expression such as \"*/5 * * * *\""
            ))
        };
        if let Ok(interval) = humantime::parse_duration(text.trim()) {
            if interval < Duration::from_millis(10) {
                return Err(wrong("is shorter than 10 ms".into()));
            }
            return Ok(Self::Interval(interval));
        }
        let (zone, expression) = match text
            .trim()
            .strip_prefix("TZ=")
            .and_then(|rest| rest.split_once(char::is_whitespace))
        {
            Some((zone, expression)) => (
                zone.parse::<Tz>()
                    .map_err(|_| wrong(format!("names the unknown time zone {zone}")))?,
                expression,
            ),
            None => (Tz::UTC, text),
        };
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser
            .parse(expression.trim())
            .map_err(|error| wrong(format!("is neither ({error})")))?;
        let every = Self::Cron {
            cron: Box::new(cron),
            zone,
        };
        // A date that never comes is found here, not at three in the morning.
        every
            .after(DateTime::UNIX_EPOCH)
            .map_err(|_| wrong("never comes".into()))?;
        Ok(every)
    }

    /// The first due time after `time`.
    pub fn after(&self, time: DateTime<Utc>) -> Result<DateTime<Utc>> {
        match self {
            Self::Interval(interval) => {
                let next = TimeDelta::from_std(*interval)
                    .ok()
                    .and_then(|interval| time.checked_add_signed(interval));
                next.ok_or_else(|| Error::Invalid("a schedule's interval is too long".into()))
            }
            Self::Cron { cron, zone } => {
                let next = cron.find_next_occurrence(&time.with_timezone(zone), false);
                next.map(|next| next.with_timezone(&Utc))
                    .map_err(|error| Error::Invalid(format!("a schedule has no next time: {error}")))
            }
        }
    }

    /// Due times in (`due`, `now`]: those that one run makes up for.
    pub fn missed(&self, due: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
        match self {
            Self::Interval(interval) => {
                let late_us = (now - due)
                    .num_microseconds()
                    .and_then(|late| u128::try_from(late).ok())
                    .unwrap_or(0);
                u64::try_from(late_us / interval.as_micros().max(1))
                    .unwrap_or(u64::MAX)
                    .min(MAX_MISSED)
            }
            Self::Cron { .. } => {
                let mut missed = 0;
                let mut time = due;
                while let Ok(next) = self.after(time) {
                    if next > now || missed == MAX_MISSED {
                        break;
                    }
                    missed += 1;
                    time = next;
                }
                missed
            }
        }
    }
}

/// As it may be written in the configuration.
impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(interval) => write!(f, "{}", humantime::format_duration(*interval)),
            Self::Cron { cron, zone: Tz::UTC } => write!(f, "{cron}"),
            Self::Cron { cron, zone } => write!(f, "TZ={zone} {cron}"),
        }
    }
}

impl FromStr for Every {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(every: &str, time: &str, next: &str) {
        assert_eq!(
            Every::parse(every).unwrap().after(at(time)).unwrap(),
            at(next),
            "{every}"
        );
    }

    #[test]
    fn due_times_follow_the_schedule() {
        check("5s", "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z");
        check("1m 30s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z");
        check("*/5 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z");
        check("*/10 * * * * *", "2026-01-01T00:05:01Z", "2026-01-01T00:05:10Z");
        check(
            "TZ=America/New_York 30 9 * * *",
            "2026-01-15T00:00:00Z",
            "2026-01-15T14:30:00Z",
        );
        check(
            "TZ=America/New_York 30 9 * * *",
            "2026-07-15T00:00:00Z",
            "2026-07-15T13:30:00Z",
        );
        // 02:30 does not exist on the day the clocks go forward: it comes when they have.
        check(
            "TZ=Europe/Berlin 30 2 * * *",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:00:00Z",
        );
    }

    #[test]
    fn a_schedule_is_shown_as_it_may_be_written() {
        for text in ["5s", "1m 30s", "*/5 * * * *", "TZ=America/New_York 0 17 * * *"] {
            assert_eq!(Every::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_schedule_is_named() {
        for text in [
            "",
            "5 parsecs",
            "* * *",
            "TZ=Mars/Olympus 0 * * * *",
            "61 * * * *",
            "0s",
            "1us",
            "0 0 30 2 *",
        ] {
            let message = Every::parse(text).unwrap_err().to_string();
            assert!(
                message.contains(&format!("{text:?}")) && message.contains("5s"),
                "{message}"
            );
        }
    }

    #[test]
    fn missed_runs_are_counted() {
        let due = at("2026-01-01T00:00:00Z");
        let missed = |every: &str, now: &str| Every::parse(every).unwrap().missed(due, at(now));
        assert_eq!(missed("5s", "2026-01-01T00:00:04Z"), 0);
        assert_eq!(missed("5s", "2026-01-01T00:00:21Z"), 4);
        assert_eq!(missed("*/5 * * * *", "2026-01-01T00:16:00Z"), 3);
        assert_eq!(missed("10ms", "2036-01-01T00:00:00Z"), MAX_MISSED);
    }
}

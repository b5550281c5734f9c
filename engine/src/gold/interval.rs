//! Width of the windows of one gold table, as its name tells: `1m`, `5m`, `1h`.

use crate::{Error, Result};

pub const SECOND_US: i64 = 1_000_000;
pub const HOUR_US: i64 = 3_600 * SECOND_US;
pub const DAY_US: i64 = 24 * HOUR_US;

/// A whole number of seconds that divides a day, so that no window crosses the date it is stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    width_us: i64,
}

impl Interval {
    /// `<number><unit>` with s, m, h or d.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::Invalid(format!(
                "`{text}` is no interval of bars: write a number and s, m, h or d that divides a day, e.g. 1m, 5m or 1h"
            ))
        };
        let unit_us = match text.as_bytes().last() {
            Some(b's') => SECOND_US,
            Some(b'm') => 60 * SECOND_US,
            Some(b'h') => HOUR_US,
            Some(b'd') => DAY_US,
            _ => return Err(invalid()),
        };
        let number: i64 = text[..text.len() - 1].parse().map_err(|_| invalid())?;
        let width_us = number
            .checked_mul(unit_us)
            .filter(|width| *width > 0 && DAY_US % width == 0)
            .ok_or_else(invalid)?;
        Ok(Self { width_us })
    }

    pub fn width_us(self) -> i64 {
        self.width_us
    }

    /// Start of the window that holds `ts`.
    pub fn start_of(self, ts: i64) -> i64 {
        ts.div_euclid(self.width_us) * self.width_us
    }

    /// Start of the stretch of windows that lies in one data file: an hour, or one window where that is wider.
    pub fn hour_of(self, ts: i64) -> i64 {
        ts.div_euclid(self.hour_us()) * self.hour_us()
    }

    /// An hour is a whole number of windows, or a window a whole number of hours; where neither holds (7m), windows go by days.
    pub fn hour_us(self) -> i64 {
        if HOUR_US % self.width_us == 0 {
            HOUR_US
        } else if self.width_us % HOUR_US == 0 {
            self.width_us
        } else {
            DAY_US
        }
    }

    /// The minute, where windows are made of whole ones.
    pub fn part(self) -> Option<Self> {
        let minute = Self {
            width_us: 60 * SECOND_US,
        };
        (self.width_us > minute.width_us && self.width_us % minute.width_us == 0).then_some(minute)
    }
}

/// UTC date of an instant in microseconds, as partitions spell it.
pub fn date_text(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us)
        .unwrap_or_default()
        .format("%Y-%m-%d")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_divide_a_day() {
        assert_eq!(Interval::parse("1m").unwrap().width_us(), 60_000_000);
        assert_eq!(Interval::parse("1d").unwrap().hour_us(), DAY_US);
        assert_eq!(Interval::parse("90s").unwrap().hour_us(), HOUR_US);
        assert_eq!(Interval::parse("96s").unwrap().hour_us(), DAY_US);
        let part = |text| Interval::parse(text).unwrap().part().map(Interval::width_us);
        assert_eq!(
            ["1s", "1m", "90s", "5m", "1d"].map(part),
            [None, None, None, Some(60_000_000), Some(60_000_000)]
        );
        for wrong in [
            "",
            "m",
            "7m",
            "0m",
            "-1m",
            "1w",
            "2d",
            "1.5h",
            "99999999999999999d",
            "1µ",
        ] {
            assert!(Interval::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn windows_before_the_epoch_start_before_their_trades() {
        let minute = Interval::parse("1m").unwrap();
        assert_eq!(minute.start_of(-1), -60_000_000);
        assert_eq!(minute.hour_of(-1), -HOUR_US);
    }
}

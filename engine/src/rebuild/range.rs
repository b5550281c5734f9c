//! What is rebuilt: trades of a half-open stretch of time, of all symbols or of some.

use std::collections::BTreeSet;

use chrono::{NaiveDate, NaiveTime};

use crate::scan::DataFile;
use crate::{Error, Result};

const DAY_US: i64 = 86_400_000_000;

/// Trades with `from_us` <= ts < `until_us`, microseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildRange {
    pub from_us: i64,
    pub until_us: i64,
    /// `None`: every symbol.
    pub symbols: Option<BTreeSet<String>>,
}

impl RebuildRange {
    pub fn new(from_us: i64, until_us: i64, symbols: &[String]) -> Result<Self> {
        if from_us >= until_us {
            return Err(Error::Invalid(
                "nothing lies between --from and --to: --to is the end of the range and not in it, so write a later one".into(),
            ));
        }
        let symbols = (!symbols.is_empty()).then(|| symbols.iter().cloned().collect());
        Ok(Self {
            from_us,
            until_us,
            symbols,
        })
    }

    pub fn holds(&self, symbol: &str, ts_us: i64) -> bool {
        self.from_us <= ts_us
            && ts_us < self.until_us
            && self.symbols.as_ref().is_none_or(|symbols| symbols.contains(symbol))
    }

    /// False only where statistics prove that the file holds no trade, or bar, of the range.
    pub fn may_hold(&self, file: &DataFile) -> bool {
        let column = match file.bounds("window_start") {
            Some(_) => "window_start",
            None => "ts",
        };
        let (first, last) = file.micros(column);
        first < self.until_us
            && self.from_us <= last
            && self
                .symbols
                .as_ref()
                .is_none_or(|symbols| symbols.iter().any(|symbol| file.may_hold("symbol", symbol)))
    }

    /// `date`: partition value of a file of silver; a table without one may hold any date.
    pub fn may_hold_date(&self, date: Option<&Option<String>>) -> bool {
        let Some(Some(date)) = date else { return true };
        let Ok(date) = date.parse::<NaiveDate>() else {
            return true;
        };
        let start_us = date.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        start_us < self.until_us && self.from_us < start_us + DAY_US
    }

    /// The day, since the epoch, in which the range begins.
    pub fn first_day(&self) -> i64 {
        self.from_us.div_euclid(DAY_US)
    }
}

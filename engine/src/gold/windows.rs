//! From news of silver to the ranges of windows that must be computed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bar::Key;
use super::calendar::Calendar;
use super::interval::{DAY_US, Interval};
use crate::rebuild::RebuildRange;
use crate::scan::DataFile;
use crate::scan::file::{Bound, Bounds};

/// Up to this many symbols a range is computed for them alone; beyond, for all that traded in it.
const FEW_SYMBOLS: usize = 8;
/// Neighbouring touched windows at most this many windows apart are computed together.
const GAP_WINDOWS: i64 = 2;
/// A date with more stretches than this is computed from its first to its last touched window at once.
const STRETCHES_A_DATE: usize = 16;

/// Touched windows kept one by one, about 25 MB; beyond, their dates are computed whole.
const MAX_WINDOWS: usize = 200_000;

/// What must be computed again: parts of windows, or the windows themselves. Bounded: after a long pause of gold a backlog may touch any number.
#[derive(Debug, Default)]
pub struct Touched {
    windows: BTreeSet<Key>,
    /// Days since the epoch of which everything is touched.
    dates: BTreeSet<i64>,
}

impl Touched {
    pub fn insert(&mut self, key: Key) {
        self.insert_within(key, MAX_WINDOWS);
    }

    fn insert_within(&mut self, key: Key, max_windows: usize) {
        if self.dates.contains(&date_of(&key)) {
            return;
        }
        self.windows.insert(key);
        if self.windows.len() > max_windows {
            self.dates.extend(std::mem::take(&mut self.windows).iter().map(date_of));
        }
    }

    /// The windows that are touched.
    pub fn ranges(&self, calendar: &Calendar) -> BTreeSet<Range> {
        let windows = self.windows.iter().filter_map(|key| window_of(key, calendar)).collect();
        let mut ranges = ranges(&windows, calendar.interval());
        ranges.extend(reaching(self.dates.iter().copied(), calendar));
        ranges
    }

    /// The touched parts of the windows in `range`; `None` where they are not known one by one.
    pub fn parts_of(&self, range: &Range, calendar: &Calendar, part: Interval) -> Option<BTreeSet<Range>> {
        let dates = range.from.div_euclid(DAY_US)..=(range.until - 1).div_euclid(DAY_US);
        if self.dates.range(dates).next().is_some() {
            return None;
        }
        let is_within = |key: &&Key| window_of(key, calendar).is_some_and(|window| range.holds(&window));
        let touched = self.windows.iter().filter(is_within);
        Some(ranges(&touched.cloned().collect(), part))
    }
}

/// The window that a part lies in.
fn window_of(part: &Key, calendar: &Calendar) -> Option<Key> {
    Some(Key {
        series: part.series.clone(),
        start: calendar.start_of(&part.series.venue, part.start)?,
    })
}

/// Ranges that hold every window with a trade of `dates`: sessions may have begun the day before.
fn reaching(dates: impl Iterator<Item = i64>, calendar: &Calendar) -> BTreeSet<Range> {
    let days_before = (calendar.reach_back_us() + DAY_US - 1).div_euclid(DAY_US);
    dates
        .flat_map(|date| date - days_before..=date)
        .map(whole_date)
        .collect()
}

fn date_of(key: &Key) -> i64 {
    key.start.div_euclid(DAY_US)
}

fn whole_date(date: i64) -> Range {
    Range {
        from: date * DAY_US,
        until: (date + 1) * DAY_US,
        symbols: None,
    }
}

/// The windows that start in a stretch of time, to compute again; a stretch of one date, but for a day's own width. Ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// Microseconds, half-open.
    pub from: i64,
    pub until: i64,
    /// `None`: every symbol.
    pub symbols: Option<BTreeSet<Arc<str>>>,
}

impl Range {
    pub fn holds(&self, key: &Key) -> bool {
        self.from <= key.start
            && key.start < self.until
            && self
                .symbols
                .as_ref()
                .is_none_or(|symbols| symbols.contains(&key.series.symbol))
    }
}

/// The windows with a part of a range of time, as far as `dates` hold them.
pub fn forced(range: &RebuildRange, calendar: &Calendar, dates: &BTreeSet<Range>) -> BTreeSet<Range> {
    let interval = calendar.interval();
    let from = interval
        .start_of(range.from_us)
        .saturating_sub(calendar.reach_back_us());
    let until = interval
        .start_of(range.until_us - 1)
        .saturating_add(interval.width_us());
    let symbols: Option<BTreeSet<Arc<str>>> = range
        .symbols
        .as_ref()
        .map(|symbols| symbols.iter().map(|symbol| symbol.as_str().into()).collect());
    let within = dates.iter().map(|date| Range {
        from: from.max(date.from),
        until: until.min(date.until),
        symbols: symbols.clone(),
    });
    within.filter(|range| range.from < range.until).collect()
}

/// Ranges that cover all of `touched`.
pub fn ranges(touched: &BTreeSet<Key>, interval: Interval) -> BTreeSet<Range> {
    let mut windows: BTreeMap<i64, BTreeSet<Arc<str>>> = BTreeMap::new();
    for key in touched {
        windows.entry(key.start).or_default().insert(key.series.symbol.clone());
    }
    let mut dates: BTreeMap<i64, Vec<Range>> = BTreeMap::new();
    for (start, symbols) in windows {
        let next = Range {
            from: start,
            until: start + interval.width_us(),
            symbols: Some(symbols),
        };
        let stretches = dates.entry(start.div_euclid(DAY_US)).or_default();
        match stretches.last_mut() {
            Some(last) if next.from - last.until <= GAP_WINDOWS * interval.width_us() => last.extend(next),
            _ => stretches.push(next),
        }
    }
    let joined = |stretches: Vec<Range>| {
        if stretches.len() <= STRETCHES_A_DATE {
            return stretches;
        }
        let whole = stretches.into_iter().reduce(|mut whole, next| {
            whole.extend(next);
            whole
        });
        whole.into_iter().collect()
    };
    dates.into_values().flat_map(joined).map(Range::simplified).collect()
}

impl Range {
    fn extend(&mut self, next: Range) {
        self.until = next.until;
        if let (Some(symbols), Some(more)) = (&mut self.symbols, next.symbols) {
            symbols.extend(more);
        }
    }

    fn simplified(mut self) -> Self {
        self.symbols = self.symbols.filter(|symbols| symbols.len() <= FEW_SYMBOLS);
        self
    }
}

/// The dates that files cover, each as one range, and those on which a window began that reaches into one.
pub fn whole_dates<'a>(
    files: impl Iterator<Item = &'a Arc<DataFile>>,
    time_column: &str,
    calendar: &Calendar,
) -> BTreeSet<Range> {
    let mut dates = BTreeSet::new();
    for file in files {
        match (file.bounds("date"), file.bounds(time_column)) {
            (
                Some(Bounds {
                    min: Bound::Days(min),
                    max: Bound::Days(max),
                    ..
                }),
                _,
            ) => dates.extend(i64::from(*min)..=i64::from(*max)),
            (
                _,
                Some(Bounds {
                    min: Bound::Micros(min),
                    max: Bound::Micros(max),
                    ..
                }),
            ) => dates.extend(min.div_euclid(DAY_US)..=max.div_euclid(DAY_US)),
            _ => {}
        }
    }
    reaching(dates.into_iter(), calendar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gold::bar::Series;

    fn key(symbol: &str, minute: i64) -> Key {
        Key {
            series: Series {
                venue: "v".into(),
                symbol: symbol.into(),
            },
            start: minute * 60_000_000,
        }
    }

    fn check(touched: &[(&str, i64)], expected: &[(i64, i64, Option<usize>)]) {
        let touched = touched.iter().map(|(symbol, minute)| key(symbol, *minute)).collect();
        let got = ranges(&touched, Interval::parse("1m").unwrap());
        let got: Vec<_> = got
            .iter()
            .map(|range| {
                (
                    range.from / 60_000_000,
                    range.until / 60_000_000,
                    range.symbols.as_ref().map(BTreeSet::len),
                )
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_late_window_does_not_widen_the_live_one() {
        check(
            &[("a", 5), ("a", 600), ("b", 600), ("b", 601)],
            &[(5, 6, Some(1)), (600, 602, Some(2))],
        );
        check(
            &[("a", 5), ("a", 7), ("a", 1439), ("a", 1440)],
            &[(5, 8, Some(1)), (1439, 1440, Some(1)), (1440, 1441, Some(1))],
        );
    }

    #[test]
    fn too_many_windows_become_their_dates() {
        let mut touched = Touched::default();
        for minute in [1, 2, 1_441, 1_442] {
            touched.insert_within(key("a", minute), 3);
        }
        touched.insert_within(key("a", 3), 3);
        touched.insert_within(key("a", 3_000), 3);
        let got: Vec<_> = touched
            .ranges(&Interval::parse("1m").unwrap().into())
            .into_iter()
            .map(|range| {
                (
                    range.from / 60_000_000,
                    range.until / 60_000_000,
                    range.symbols.is_some(),
                )
            })
            .collect();
        assert_eq!(got, [(0, 1_440, false), (1_440, 2_880, false), (3_000, 3_001, true)]);
    }

    #[test]
    fn many_symbols_and_many_stretches_are_computed_at_large() {
        let symbols: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
        check(
            &symbols.iter().map(|symbol| (symbol.as_str(), 3)).collect::<Vec<_>>(),
            &[(3, 4, None)],
        );
        check(
            &(0..20).map(|n| ("a", n * 10)).collect::<Vec<_>>(),
            &[(0, 191, Some(1))],
        );
    }
}

//! Wide bars out of minutes: the parts of the newest windows stay in memory, so that a trade costs its minute again and not its hour or day.
//!
//! Exact, because a part keeps the sums that its bar is divided from; gold's own one-minute bars do not (`avg_price` is rounded). Where the parts
//! of a window are not at hand, it is computed from its trades: the bar is the same.

use std::collections::BTreeMap;

use super::bar::{Computed, Key, Series, Values};
use super::interval::Interval;
use super::windows::Range;
use crate::ohlcv::wide::{Wide, divide_half_even};

/// Windows kept: the open one and the one before.
const KEPT_WINDOWS: usize = 2;
/// Parts kept, about 100 MB; a table with more of them in its newest windows does without.
const MAX_PARTS: usize = 250_000;

#[derive(Debug)]
pub struct Parts {
    window: Interval,
    /// Start of a window -> the parts of every series that traded in it.
    windows: BTreeMap<i64, BTreeMap<Series, BTreeMap<i64, Computed>>>,
}

impl Parts {
    /// `None` where a window has no minutes to be made of.
    pub fn of(window: Interval) -> Option<Self> {
        window.part().map(|_| Self {
            window,
            windows: BTreeMap::new(),
        })
    }

    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// Every window of the range is here.
    pub fn holds(&self, range: &Range) -> bool {
        self.starts(range).all(|start| self.windows.contains_key(&start))
    }

    /// The range ends with the newest windows, few enough to keep.
    pub fn wants(&self, range: &Range) -> bool {
        let newest = self.windows.last_key_value().map_or(i64::MIN, |(start, _)| *start);
        range.until > newest && self.starts(range).count() <= KEPT_WINDOWS
    }

    /// Takes over the parts of whole windows, those of all symbols.
    pub fn keep(&mut self, range: &Range, parts: Vec<Computed>) {
        for start in self.starts(range).collect::<Vec<_>>() {
            self.windows.insert(start, BTreeMap::new());
        }
        self.put(parts);
        while self.windows.len() > KEPT_WINDOWS {
            self.windows.pop_first();
        }
    }

    /// Takes over the parts of windows that are kept, in place of those of the range.
    pub fn replace(&mut self, range: &Range, parts: Vec<Computed>) {
        for series in self.windows.values_mut() {
            for (series, parts) in series.iter_mut() {
                parts.retain(|start, _| {
                    let key = Key {
                        series: series.clone(),
                        start: *start,
                    };
                    !range.holds(&key)
                });
            }
            series.retain(|_, parts| !parts.is_empty());
        }
        self.put(parts);
    }

    fn put(&mut self, parts: Vec<Computed>) {
        for part in parts {
            let start = self.window.start_of(part.key.start);
            if let Some(window) = self.windows.get_mut(&start) {
                let of_series = window.entry(part.key.series.clone()).or_default();
                of_series.insert(part.key.start, part);
            }
        }
    }

    /// The bars of the range.
    pub fn bars(&self, range: &Range) -> Vec<Computed> {
        let windows = self.windows.range(range.from..range.until);
        let series = windows.flat_map(|(start, series)| series.iter().map(|(series, parts)| (*start, series, parts)));
        series
            .filter_map(|(start, series, parts)| {
                let key = Key {
                    series: series.clone(),
                    start,
                };
                range.holds(&key).then(|| rolled_up(key, parts.values()))
            })
            .collect()
    }

    /// Forgets the windows of the range: they were computed without parts.
    pub fn forget(&mut self, range: &Range) {
        let first = self.window.start_of(range.from);
        self.windows.retain(|start, _| *start < first || *start >= range.until);
    }

    /// Drops everything where it has become too much.
    pub fn bound(&mut self) {
        let parts: usize = self
            .windows
            .values()
            .flat_map(BTreeMap::values)
            .map(BTreeMap::len)
            .sum();
        if parts > MAX_PARTS {
            self.clear();
        }
    }

    fn starts(&self, range: &Range) -> impl Iterator<Item = i64> + use<> {
        let (first, width) = (self.window.start_of(range.from), self.window.width_us());
        let windows = (range.until - first + width - 1).div_euclid(width);
        (0..windows).map(move |n| first + n * width)
    }
}

/// One bar of parts in the order of time. Withheld where a part is: its sums would fit less still.
fn rolled_up<'a>(key: Key, parts: impl Iterator<Item = &'a Computed>) -> Computed {
    let mut rows = 0;
    let mut sums: Option<Sums> = None;
    let mut fits = true;
    for part in parts {
        rows += part.rows;
        match (&part.values, part.prices) {
            (Some(values), Some(prices)) => match &mut sums {
                Some(sums) => sums.add(values, prices),
                None => sums = Some(Sums::new(values, prices)),
            },
            _ => fits = false,
        }
    }
    let (values, prices) = match sums.filter(|_| fits) {
        Some(sums) => (sums.to_values(), Some(sums.prices)),
        None => (None, None),
    };
    Computed {
        key,
        values,
        prices,
        rows,
    }
}

struct Sums {
    /// Everything that is no sum.
    ends: Values,
    volume: Wide,
    quote: Wide,
    bought_volume: Wide,
    bought_quote: Wide,
    fills: Wide,
    prices: Wide,
}

impl Sums {
    fn new(values: &Values, prices: Wide) -> Self {
        let wide = |value: i128| {
            let mut sum = Wide::default();
            sum.add(value);
            sum
        };
        Self {
            volume: wide(values.volume),
            quote: wide(values.quote_volume),
            bought_volume: wide(values.taker_buy_volume),
            bought_quote: wide(values.taker_buy_quote_volume),
            fills: wide(i128::from(values.trade_count)),
            prices,
            ends: values.clone(),
        }
    }

    fn add(&mut self, values: &Values, prices: Wide) {
        self.volume.add(values.volume);
        self.quote.add(values.quote_volume);
        self.bought_volume.add(values.taker_buy_volume);
        self.bought_quote.add(values.taker_buy_quote_volume);
        self.fills.add(i128::from(values.trade_count));
        self.prices.merge(prices);
        let ends = &mut self.ends;
        ends.high = ends.high.max(values.high);
        ends.low = ends.low.min(values.low);
        ends.close = values.close;
        ends.last_seq = values.last_seq;
        ends.last_ts = values.last_ts;
    }

    /// `None` where a sum does not fit its column.
    fn to_values(&self) -> Option<Values> {
        let volume = self.volume.to_decimal38()?;
        let is_traded = volume != 0;
        let vwap = if is_traded {
            Some(divide_half_even(self.quote, self.volume)?)
        } else {
            None
        };
        Some(Values {
            volume,
            quote_volume: self.quote.to_decimal38()?,
            vwap,
            avg_price: is_traded.then(|| divide_half_even(self.prices, self.fills)).flatten(),
            trade_count: i64::try_from(self.fills.to_decimal38()?).ok()?,
            taker_buy_volume: self.bought_volume.to_decimal38()?,
            taker_buy_quote_volume: self.bought_quote.to_decimal38()?,
            ..self.ends.clone()
        })
    }
}

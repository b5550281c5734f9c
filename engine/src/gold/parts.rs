//! Wide bars out of minutes: the parts of the newest windows stay in memory, so that a trade costs its minute again and not its hour or day.
//!
//! Exact, because a part keeps the sums that its bar is divided from; gold's own one-minute bars do not (`avg_price` is rounded). Where the parts
//! of a window are not at hand, it is computed from its trades: the bar is the same.

use std::collections::BTreeMap;

use super::bar::{Computed, Key, Prices, Series, Values};
use super::interval::Interval;
use super::windows::Range;
use crate::ohlcv::trades::CountsFor;
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
        match (&part.values, part.price_sum) {
            (Some(values), Some(price_sum)) => match &mut sums {
                Some(sums) => sums.add(values, price_sum, part.priced_by),
                None => sums = Some(Sums::new(values, price_sum, part.priced_by)),
            },
            _ => fits = false,
        }
    }
    let sums = sums.filter(|_| fits);
    Computed {
        key,
        values: sums.as_ref().and_then(Sums::to_values),
        price_sum: sums.as_ref().map(|sums| sums.prices),
        priced_by: sums.map(|sums| sums.priced_by).unwrap_or_default(),
        rows,
    }
}

struct Sums {
    /// Everything that is no sum.
    ends: Values,
    priced_by: CountsFor,
    volume: Wide,
    quote: Wide,
    bought_volume: Wide,
    bought_quote: Wide,
    fills: Wide,
    prices: Wide,
}

impl Sums {
    fn new(values: &Values, prices: Wide, priced_by: CountsFor) -> Self {
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
            priced_by,
            ends: values.clone(),
        }
    }

    fn add(&mut self, values: &Values, prices: Wide, priced_by: CountsFor) {
        self.volume.add(values.volume);
        self.quote.add(values.quote_volume);
        self.bought_volume.add(values.taker_buy_volume);
        self.bought_quote.add(values.taker_buy_quote_volume);
        self.fills.add(i128::from(values.trade_count));
        self.prices.merge(prices);
        let ends = &mut self.ends;
        ends.last_seq = values.last_seq;
        ends.last_ts = values.last_ts;
        self.add_prices(values.prices, priced_by);
    }

    /// Open and close come from the parts that count for most; every price counts for high and low.
    fn add_prices(&mut self, prices: Option<Prices>, priced_by: CountsFor) {
        let Some(more) = prices else { return };
        let prices = self.ends.prices.get_or_insert(more);
        prices.high = prices.high.max(more.high);
        prices.low = prices.low.min(more.low);
        if priced_by > self.priced_by {
            prices.open = more.open;
        }
        if priced_by >= self.priced_by {
            prices.close = more.close;
            self.priced_by = priced_by;
        }
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use ticklake_sql::decimal;

    use super::super::interval::HOUR_US;
    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn series() -> Series {
        Series {
            venue: "coinbase".into(),
            symbol: "BTC-USD".into(),
        }
    }

    /// Bars of a fixture: milliseconds since midnight, open, high, low, close, volume. What they do not tell is 0.
    fn bars(width: &str, day: &str) -> Vec<Computed> {
        let name = format!("../tests/fixtures/coinbase-bars/{width}_btcusd_{day}_trade.zip");
        let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let mut text = String::new();
        let mut reader = crate::backfill::text::open(file, Default::default()).unwrap();
        reader.read_to_string(&mut text).unwrap();
        let bar = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let price = |at: usize| decimal::parse(fields[at], 28, 12).unwrap();
            let start = fields[0].parse::<i64>().unwrap() * 1_000;
            let prices = Prices {
                open: price(1),
                high: price(2),
                low: price(3),
                close: price(4),
            };
            let volume = decimal::parse(fields[5], 38, 10).unwrap();
            computed(start, Some(prices), volume, CountsFor::Price)
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(bar).collect()
    }

    fn computed(start: i64, prices: Option<Prices>, volume: i128, priced_by: CountsFor) -> Computed {
        let values = Values {
            prices,
            volume,
            quote_volume: 0,
            vwap: None,
            avg_price: None,
            trade_count: 1,
            taker_buy_volume: 0,
            taker_buy_quote_volume: 0,
            first_seq: start,
            last_seq: start,
            first_ts: start,
            last_ts: start,
        };
        Computed {
            key: Key {
                series: series(),
                start,
            },
            values: Some(values),
            price_sum: Some(Wide::default()),
            priced_by,
            rows: 1,
        }
    }

    #[test]
    fn a_venue_s_seconds_roll_up_to_its_minutes() {
        let minute = Interval::parse("1m").unwrap();
        let (mut equal, mut total) = (0, 0);
        for day in ["20161007", "20161008", "20161009"] {
            let mut windows: BTreeMap<i64, Vec<Computed>> = BTreeMap::new();
            for second in bars("second", day) {
                assert_eq!(second.key.start % SECOND_US, 0);
                windows
                    .entry(minute.start_of(second.key.start))
                    .or_default()
                    .push(second);
            }
            let theirs = bars("minute", day);
            assert_eq!(windows.len(), theirs.len(), "{day}");
            for theirs in theirs {
                let rolled_up = rolled_up(theirs.key.clone(), windows[&theirs.key.start].iter());
                let said = |bar: Computed| bar.values.map(|values| (values.prices, values.volume));
                equal += usize::from(said(rolled_up) == said(theirs));
                total += 1;
            }
        }
        assert_eq!((equal, total), (4_216, 4_216));
    }

    #[test]
    fn parts_that_count_for_more_open_and_close() {
        let price = |price: i128| Prices {
            open: price,
            high: price + 1,
            low: price - 1,
            close: price,
        };
        let check = |parts: &[(Option<i128>, CountsFor)], expected: Option<[i128; 4]>| {
            let parts: Vec<Computed> = parts
                .iter()
                .enumerate()
                .map(|(at, (of, by))| computed(at as i64 * 60 * SECOND_US, of.map(price), 1, *by))
                .collect();
            let key = Key {
                series: series(),
                start: HOUR_US,
            };
            let values = rolled_up(key, parts.iter()).values.unwrap();
            let prices = values
                .prices
                .map(|prices| [prices.open, prices.high, prices.low, prices.close]);
            assert_eq!(prices, expected, "{parts:?}");
            assert_eq!(values.volume, parts.len() as i128);
        };
        use CountsFor::{Price, Range, Volume};
        check(&[(None, Volume), (None, Volume)], None);
        check(
            &[(None, Volume), (Some(50), Range), (None, Volume)],
            Some([50, 51, 49, 50]),
        );
        check(
            &[
                (Some(90), Range),
                (Some(50), Price),
                (Some(60), Price),
                (Some(10), Range),
            ],
            Some([50, 91, 9, 60]),
        );
        check(
            &[(Some(50), Price), (Some(90), Range), (Some(20), Range)],
            Some([50, 91, 19, 50]),
        );
    }
}

//! One bar in the making: folds runs of trades, merges with another part of the same bar.

use std::cmp::Ordering;

use super::trades::{CountsFor, Trades};
use super::wide::Wide;

/// Where a bar opens or closes: its first or last trade by (ts, seq, trade_id). Price stands last: rows that repeat a whole key give one
/// answer too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    pub ts: i64,
    pub seq: i64,
    pub trade_id: String,
    pub price: i128,
}

/// Everything a bar needs to know of the trades that it has seen. Empty while `rows` is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bar {
    pub rows: i64,
    /// A product did not fit 128 bits: the bar is withheld, whatever else comes.
    pub overflowed: bool,
    /// (ts, seq) of the first and the last trade, whatever it counts for.
    pub first: (i64, i64),
    pub last: (i64, i64),
    /// The most that any trade counts for. `Volume`: no trade gave a price, and none of the next four says anything.
    pub priced_by: CountsFor,
    /// Of the trades that count for `priced_by`.
    pub open: Edge,
    pub close: Edge,
    pub high: i128,
    pub low: i128,
    /// Sum of count.
    pub fills: Wide,
    /// Sum of qty, scale 10.
    pub volume: Wide,
    /// Sum of price x qty, scale 22.
    pub quote: Wide,
    pub bought_volume: Wide,
    pub bought_quote: Wide,
    /// Sum of price x count, scale 12.
    pub prices: Wide,
}

impl Bar {
    /// Folds the rows `from..until`, every one of which is valid.
    pub fn fold(&mut self, trades: &Trades, from: usize, until: usize) {
        if from >= until {
            return;
        }
        if self.rows == 0 {
            let start = (trades.ts[from], trades.seq[from]);
            (self.first, self.last) = (start, start);
        }
        match &trades.counts_for {
            None => {
                let (open, close) = edges(trades, from, until);
                self.reach(trades, open);
                self.reach(trades, close);
                self.offer(trades, CountsFor::Price, open);
                self.offer(trades, CountsFor::Price, close);
            }
            Some(counts_for) => {
                for (row, counts_for) in counts_for.iter().enumerate().take(until).skip(from) {
                    self.reach(trades, row);
                    if *counts_for > CountsFor::Volume {
                        self.offer(trades, *counts_for, row);
                        self.widen(trades.price[row], trades.price[row]);
                    }
                }
            }
        }
        self.rows += (until - from) as i64;
        let narrow = Narrow::of(
            &trades.price[from..until],
            &trades.qty[from..until],
            &trades.count[from..until],
        );
        match (narrow, &trades.counts_for) {
            (Some(narrow), counts_for) => {
                let sums = narrow.fold(trades, from, until);
                if counts_for.is_none() {
                    self.widen(i128::from(sums.high), i128::from(sums.low));
                }
                self.take(sums);
            }
            (None, counts_for) => {
                if counts_for.is_none() {
                    trades.price[from..until]
                        .iter()
                        .for_each(|price| self.widen(*price, *price));
                }
                self.fold_wide(trades, from, until);
            }
        }
    }

    fn reach(&mut self, trades: &Trades, row: usize) {
        let time = (trades.ts[row], trades.seq[row]);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// A trade that counts for `counts_for`, more than volume, as the bar's open and close.
    fn offer(&mut self, trades: &Trades, counts_for: CountsFor, row: usize) {
        match counts_for.cmp(&self.priced_by) {
            Ordering::Less => {}
            Ordering::Equal => {
                if compare_edge(trades, row, &self.open) == Ordering::Less {
                    self.open.set(trades, row);
                }
                if compare_edge(trades, row, &self.close) == Ordering::Greater {
                    self.close.set(trades, row);
                }
            }
            Ordering::Greater => {
                if self.priced_by == CountsFor::Volume {
                    (self.high, self.low) = (trades.price[row], trades.price[row]);
                }
                self.priced_by = counts_for;
                self.open.set(trades, row);
                self.close.set(trades, row);
            }
        }
    }

    fn widen(&mut self, high: i128, low: i128) {
        self.high = self.high.max(high);
        self.low = self.low.min(low);
    }

    fn take(&mut self, sums: Sums) {
        self.fills.add(i128::from(sums.rows));
        self.volume.add(sums.volume);
        self.quote.add(sums.quote);
        self.bought_volume.add(sums.bought_volume);
        self.bought_quote.add(sums.bought_quote);
        self.prices.add(sums.prices);
    }

    /// Any values: products checked, sums in 192 bits.
    fn fold_wide(&mut self, trades: &Trades, from: usize, until: usize) {
        for row in from..until {
            let (price, qty, count) = (trades.price[row], trades.qty[row], i128::from(trades.count[row]));
            self.fills.add(count);
            self.volume.add(qty);
            let (Some(quote), Some(prices)) = (price.checked_mul(qty), price.checked_mul(count)) else {
                self.overflowed = true;
                continue;
            };
            self.quote.add(quote);
            self.prices.add(prices);
            if trades.bought[row] {
                self.bought_volume.add(qty);
                self.bought_quote.add(quote);
            }
        }
    }

    /// Takes over another part of the same bar.
    pub fn merge(&mut self, other: Bar) {
        if other.rows == 0 {
            return;
        }
        if self.rows == 0 {
            *self = other;
            return;
        }
        self.rows += other.rows;
        self.overflowed |= other.overflowed;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.fills.merge(other.fills);
        self.volume.merge(other.volume);
        self.quote.merge(other.quote);
        self.bought_volume.merge(other.bought_volume);
        self.bought_quote.merge(other.bought_quote);
        self.prices.merge(other.prices);
        self.merge_prices(other);
    }

    fn merge_prices(&mut self, other: Bar) {
        if other.priced_by == CountsFor::Volume {
            return;
        }
        if self.priced_by == CountsFor::Volume {
            (self.high, self.low) = (other.high, other.low);
        }
        self.widen(other.high, other.low);
        match other.priced_by.cmp(&self.priced_by) {
            Ordering::Less => {}
            Ordering::Equal => {
                if other.open.key() < self.open.key() {
                    self.open = other.open;
                }
                if other.close.key() > self.close.key() {
                    self.close = other.close;
                }
            }
            Ordering::Greater => {
                self.priced_by = other.priced_by;
                (self.open, self.close) = (other.open, other.close);
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.open.trade_id.capacity() + self.close.trade_id.capacity()
    }
}

impl Edge {
    fn key(&self) -> (i64, i64, &str, i128) {
        (self.ts, self.seq, &self.trade_id, self.price)
    }

    fn set(&mut self, trades: &Trades, row: usize) {
        (self.ts, self.seq, self.price) = (trades.ts[row], trades.seq[row], trades.price[row]);
        self.trade_id.clear();
        self.trade_id.push_str(trades.id(row));
    }
}

/// Ids are read only where ts and seq tie.
fn compare_edge(trades: &Trades, row: usize, edge: &Edge) -> Ordering {
    (trades.ts[row], trades.seq[row])
        .cmp(&(edge.ts, edge.seq))
        .then_with(|| trades.id(row).cmp(&edge.trade_id))
        .then_with(|| trades.price[row].cmp(&edge.price))
}

fn compare_rows(trades: &Trades, left: usize, right: usize) -> Ordering {
    (trades.ts[left], trades.seq[left])
        .cmp(&(trades.ts[right], trades.seq[right]))
        .then_with(|| trades.id(left).cmp(trades.id(right)))
        .then_with(|| trades.price[left].cmp(&trades.price[right]))
}

/// Rows of the first and the last trade of `from..until`: the ends where the run rises strictly, else by comparing all.
fn edges(trades: &Trades, from: usize, until: usize) -> (usize, usize) {
    let (ts, seq) = (&trades.ts[from..until], &trades.seq[from..until]);
    let pairs = ts.windows(2).zip(seq.windows(2));
    if pairs.fold(true, |rises, (ts, seq)| {
        rises & ((ts[0] < ts[1]) | ((ts[0] == ts[1]) & (seq[0] < seq[1])))
    }) {
        return (from, until - 1);
    }
    let (mut first, mut last) = (from, from);
    for row in from + 1..until {
        if compare_rows(trades, row, first) == Ordering::Less {
            first = row;
        }
        if compare_rows(trades, row, last) == Ordering::Greater {
            last = row;
        }
    }
    (first, last)
}

/// Proof that a run's values are non-negative, fit 63 bits, have count 1 each, and that no sum of theirs overflows 127 bits:
/// the usual case, folded without a check a row.
struct Narrow;

struct Sums {
    rows: i64,
    high: i64,
    low: i64,
    volume: i128,
    quote: i128,
    bought_volume: i128,
    bought_quote: i128,
    prices: i128,
}

impl Narrow {
    fn of(price: &[i128], qty: &[i128], count: &[i64]) -> Option<Self> {
        let bits = |values: &[i128]| {
            128 - values
                .iter()
                .fold(0, |bits, value| bits | *value as u128)
                .leading_zeros()
        };
        let (price_bits, qty_bits) = (bits(price), bits(qty));
        let run_bits = usize::BITS - price.len().leading_zeros();
        let single = count.iter().fold(true, |single, count| single & (*count == 1));
        (single && price_bits < 64 && qty_bits < 64 && price_bits + qty_bits + run_bits < 127).then_some(Self)
    }

    fn fold(self, trades: &Trades, from: usize, until: usize) -> Sums {
        let (mut high, mut low) = (0u64, u64::MAX);
        let (mut volume, mut quote, mut bought_volume, mut bought_quote, mut prices) =
            (0u128, 0u128, 0u128, 0u128, 0u128);
        let rows = trades.price[from..until]
            .iter()
            .zip(&trades.qty[from..until])
            .zip(&trades.bought[from..until]);
        for ((price, qty), bought) in rows {
            let (price, qty) = (*price as u64, *qty as u64);
            high = high.max(price);
            low = low.min(price);
            let product = u128::from(price) * u128::from(qty);
            volume += u128::from(qty);
            quote += product;
            prices += u128::from(price);
            let mask = u128::from(*bought).wrapping_neg();
            bought_volume += u128::from(qty) & mask;
            bought_quote += product & mask;
        }
        Sums {
            rows: (until - from) as i64,
            high: high as i64,
            low: low as i64,
            volume: volume as i128,
            quote: quote as i128,
            bought_volume: bought_volume as i128,
            bought_quote: bought_quote as i128,
            prices: prices as i128,
        }
    }
}

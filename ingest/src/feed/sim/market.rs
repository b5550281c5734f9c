//! The seeded random walk: the same seed and start give the same trades, byte for byte, at any speed.
//!
//! Prices and quantities are integers throughout. Ids grow by one a symbol from the start time in microseconds; a market makes
//! at most one trade a microsecond, so a later start cannot reuse an id for another trade.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::instruments::Instrument;
use crate::trade::{Kind, Side, Source, Symbol, Trade, Venue};

/// A typical quantity is worth so many quote units; activity of price levels stays comparable.
const TYPICAL_NOTIONAL: i64 = 2_000;

#[derive(Debug)]
pub struct Market {
    venue: Venue,
    books: Vec<Book>,
    /// Running sums of the books' weights: a draw below the last one falls into one book.
    cumulative_weights: Vec<u32>,
    rng: ChaCha8Rng,
    id_text: String,
    price_text: String,
    qty_text: String,
}

/// One symbol's walk.
#[derive(Debug)]
struct Book {
    symbol: Symbol,
    price: i64,
    lowest: i64,
    highest: i64,
    max_step: i64,
    price_scale: u8,
    qty_scale: u8,
    /// Quantities are 1 to this many lots, small ones more often.
    max_lots: u64,
    next_id: i64,
}

impl Market {
    /// `start_us` is where the ids start: the start time, microseconds since the epoch.
    pub fn new(venue: Venue, instruments: &[Instrument], seed: u64, start_us: i64) -> Self {
        let mut sum = 0_u32;
        let cumulative_weights = (0..instruments.len())
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        Self {
            venue,
            books: instruments
                .iter()
                .map(|instrument| Book::new(instrument, start_us))
                .collect(),
            cumulative_weights,
            rng: ChaCha8Rng::seed_from_u64(seed),
            id_text: String::new(),
            price_text: String::new(),
            qty_text: String::new(),
        }
    }

    /// The next trade of the market. Only its times come from outside.
    pub fn next_trade(&mut self, ts: i64, received_at: i64) -> Trade<'_> {
        let (which, how) = (self.rng.next_u64(), self.rng.next_u64());
        let total = self.cumulative_weights.last().copied().unwrap_or(1);
        let draw = scaled(which as u32, u64::from(total)) as u32;
        let index = self.cumulative_weights.partition_point(|sum| *sum <= draw);
        let book = &mut self.books[index];
        let side = if which >> 63 == 0 { Side::Buy } else { Side::Sell };
        let step = scaled((which >> 31) as u32, 2 * book.max_step.unsigned_abs() + 1) as i64 - book.max_step;
        book.price = reflected(book.price + step, book.lowest, book.highest);
        let lots = 1 + scaled(how as u32, 1 + scaled((how >> 32) as u32, book.max_lots)) as i64;
        let id = book.next_id;
        book.next_id += 1;

        write_decimal(&mut self.id_text, id, 0);
        write_decimal(&mut self.price_text, book.price, book.price_scale);
        write_decimal(&mut self.qty_text, lots, book.qty_scale);
        Trade {
            venue: &self.venue,
            symbol: &book.symbol,
            kind: Kind::Trade,
            trade_id: &self.id_text,
            seq: id,
            price: &self.price_text,
            qty: &self.qty_text,
            side: Some(side),
            ts,
            received_at,
            source: Source::Sim,
            conditions: &[],
            ref_trade_id: None,
            fills: None,
            raw: None,
        }
    }
}

impl Book {
    fn new(instrument: &Instrument, start_us: i64) -> Self {
        let price = instrument.start_price;
        // lots = notional / price, both as integers: notional x 10^price_scale x 10^qty_scale / price
        let power = 10_i128.pow(u32::from(instrument.price_scale + instrument.qty_scale));
        let lots = i128::from(TYPICAL_NOTIONAL) * power / i128::from(price.max(1));
        Self {
            symbol: instrument.symbol.clone(),
            price,
            lowest: (price / 2).max(1),
            highest: price.saturating_mul(2).max(2),
            max_step: instrument.max_step,
            price_scale: instrument.price_scale,
            qty_scale: instrument.qty_scale,
            max_lots: u64::try_from(lots.clamp(1, i128::from(u32::MAX))).unwrap_or(1),
            next_id: start_us,
        }
    }
}

/// The most active symbol trades about half as often again as the next: weights fall as 1 / rank.
fn weight(rank: usize) -> u32 {
    (100_000 / (rank as u32 + 2)).max(1)
}

/// A draw of 32 bits as a number below `bound`.
fn scaled(draw: u32, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 32) as u64
}

/// Keeps a walk between its walls.
fn reflected(price: i64, lowest: i64, highest: i64) -> i64 {
    if price < lowest {
        (2 * lowest - price).min(highest)
    } else if price > highest {
        (2 * highest - price).max(lowest)
    } else {
        price
    }
}

/// Writes the integer `unscaled` of `scale` decimals, all of them shown, as venues do. Not for negative numbers.
fn write_decimal(out: &mut String, unscaled: i64, scale: u8) {
    out.clear();
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(unscaled);
    let scale = usize::from(scale);
    if scale == 0 {
        out.push_str(digits);
    } else if digits.len() > scale {
        let (whole, decimals) = digits.split_at(digits.len() - scale);
        out.push_str(whole);
        out.push('.');
        out.push_str(decimals);
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', scale - digits.len()));
        out.push_str(digits);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use super::super::instruments::choose;
    use super::*;

    fn trades(seed: u64, start_us: i64, count: usize) -> Vec<String> {
        let mut market = Market::new(Venue::new("sim"), &choose(50, &[]).unwrap(), seed, start_us);
        let json = |trade: Trade<'_>| {
            let mut out = Vec::new();
            trade.write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        (0..count as i64)
            .map(|n| json(market.next_trade(start_us + n, start_us + n)))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_trades_and_another_does_not() {
        assert_eq!(trades(7, 1_000_000, 5_000), trades(7, 1_000_000, 5_000));
        assert_ne!(trades(7, 1_000_000, 100), trades(8, 1_000_000, 100));
    }

    #[test]
    fn a_restart_reuses_no_id_for_another_trade() {
        let ids = |records: Vec<String>| -> HashSet<(String, String)> {
            records
                .iter()
                .map(|record| serde_json::from_str::<serde_json::Value>(record).unwrap())
                .map(|trade| (trade["symbol"].to_string(), trade["trade_id"].to_string()))
                .collect()
        };
        // the fastest market there is, one trade a microsecond, stopped after 10,000 and started again in the next one
        let (first, second) = (ids(trades(7, 1_000_000, 10_000)), ids(trades(7, 1_010_000, 10_000)));
        assert_eq!(first.intersection(&second).count(), 0);
    }

    #[test]
    fn ids_are_contiguous_and_prices_differ_by_symbol() {
        let mut ids: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut prices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for record in trades(1, 5_000_000, 50_000) {
            let trade: serde_json::Value = serde_json::from_str(&record).unwrap();
            let symbol = trade["symbol"].as_str().unwrap().to_owned();
            ids.entry(symbol.clone())
                .or_default()
                .push(trade["seq"].as_i64().unwrap());
            prices
                .entry(symbol)
                .or_default()
                .insert(trade["price"].as_str().unwrap().to_owned());
        }
        assert_eq!(ids.len(), 50, "every symbol trades");
        for (symbol, ids) in &ids {
            let expected: Vec<i64> = (5_000_000..).take(ids.len()).collect();
            assert_eq!(ids, &expected, "{symbol}");
        }
        assert!(ids["BTC-USDT"].len() > 10 * ids["USDC-USDT"].len(), "activity differs");
        assert!(prices["BTC-USDT"].len() > 100, "prices walk");
    }

    #[test]
    fn a_long_walk_stays_between_its_walls() {
        let instruments = choose(50, &[]).unwrap();
        let mut market = Market::new(Venue::new("sim"), &instruments, 3, 1);
        for n in 0..300_000 {
            market.next_trade(n, n);
        }
        for (book, instrument) in market.books.iter().zip(&instruments) {
            let walls = (instrument.start_price / 2)..=(instrument.start_price * 2);
            assert!(walls.contains(&book.price), "{}", book.symbol);
        }
    }

    #[test]
    fn decimals_are_written_exactly() {
        for (unscaled, scale, expected) in [
            (6_423_112, 2, "64231.12"),
            (2341, 8, "0.00002341"),
            (5, 0, "5"),
            (10, 1, "1.0"),
            (9, 1, "0.9"),
            (123, 3, "0.123"),
        ] {
            let mut text = String::new();
            write_decimal(&mut text, unscaled, scale);
            assert_eq!(text, expected);
        }
    }
}

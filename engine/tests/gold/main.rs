//! Gold against a naive fold of silver: step by step, at once, raced, with late, cancelled and corrected trades.
//!
//! `silver` is the lake whose silver each test writes for itself, `fold` makes the bars the plain way; what gold must say of rows is here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fold/mod.rs"]
mod fold;
mod prices;
mod races;
mod rebuild;
mod recording;
mod refresh;
mod revisions;
mod scan;
mod sessions;
mod silver;
mod steps;

use std::collections::BTreeMap;

use fold::{FoldedBar, Trade, fold};
use silver::{Row, StoredBars};
use ticklake_engine::gold::GoldOptions;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// 2025-01-01 00:00.
const START: i64 = 1_735_689_600_000_000;

fn options() -> GoldOptions {
    GoldOptions {
        target_partitions: 2,
        ..GoldOptions::default()
    }
}

fn trade(symbol: &str, at: i64, seq: i64, price: i128) -> Row {
    let side = Some(if seq % 3 == 0 { "buy" } else { "sell" }.to_owned());
    Row::trade(
        "sim",
        Trade {
            symbol: symbol.to_owned(),
            ts: START + at,
            seq,
            trade_id: seq.to_string(),
            price: price * 1_000_000_000_000,
            qty: 10_000_000_000,
            side,
            count: 1,
        },
    )
}

fn amendment(kind: &str, named: &Row, at: i64, price: i128) -> Row {
    let mut row = trade(&named.trade.symbol, at, 1_000_000 + at, price);
    row.kind = kind.to_owned();
    row.reference = Some(named.trade.trade_id.clone());
    row
}

/// (venue, symbol, window start) -> bar, is_closed, is_complete.
type Said = BTreeMap<(String, String, i64), (FoldedBar, bool, Option<bool>)>;

/// What gold must say of the trades in `rows`, beside revision and time: folded, closed by the watermark, complete by the ids.
fn expected(rows: &[Row], width: i64) -> Said {
    let mut venues: BTreeMap<&str, Vec<Trade>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind == "trade") {
        venues.entry(&row.venue).or_default().push(row.trade.clone());
    }
    let mut bars = BTreeMap::new();
    for (venue, trades) in venues {
        let watermark = trades.iter().map(|trade| trade.ts).max().unwrap();
        let folded: Vec<_> = fold(&trades, width)
            .into_iter()
            .filter_map(|((symbol, start), bar)| Some((symbol, start, bar?)))
            .collect();
        for (at, (symbol, start, bar)) in folded.iter().enumerate() {
            let of_symbol = |other: &&(String, i64, FoldedBar)| other.0 == *symbol;
            let before = at.checked_sub(1).and_then(|at| folded.get(at)).filter(of_symbol);
            let after = folded.get(at + 1).filter(of_symbol);
            let holes = [
                (bar.last_seq - bar.first_seq + 1 != bar.row_count),
                before.is_some_and(|before| before.2.last_seq + 1 != bar.first_seq),
                after.is_some_and(|after| bar.last_seq + 1 != after.2.first_seq),
            ];
            let is_complete = match venue {
                "sim" if holes.contains(&true) => Some(false),
                "sim" if before.is_some() && after.is_some() => Some(true),
                _ => None,
            };
            let mut bar = bar.clone();
            bar.row_count = 0;
            bars.insert(
                (venue.to_owned(), symbol.clone(), *start),
                (bar, watermark >= start + width, is_complete),
            );
        }
    }
    bars
}

fn said(bars: &StoredBars) -> Said {
    bars.iter()
        .map(|(key, bar)| (key.clone(), (bar.bar.clone(), bar.is_closed, bar.is_complete)))
        .collect()
}

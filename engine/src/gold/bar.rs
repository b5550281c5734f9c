//! One row of gold, and the rule that says when its trades are complete.

use std::sync::Arc;

use crate::ohlcv::trades::CountsFor;
use crate::ohlcv::wide::Wide;

/// What names a bar within its table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub series: Series,
    /// Start of the window, microseconds.
    pub start: i64,
}

/// The symbol of a venue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    pub venue: Arc<str>,
    pub symbol: Arc<str>,
}

/// What the trades of a window say. Decimals unscaled, times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// `None` where every trade counts for volume only.
    pub prices: Option<Prices>,
    pub volume: i128,
    pub quote_volume: i128,
    pub vwap: Option<i128>,
    pub avg_price: Option<i128>,
    pub trade_count: i64,
    pub taker_buy_volume: i128,
    pub taker_buy_quote_volume: i128,
    pub first_seq: i64,
    pub last_seq: i64,
    pub first_ts: i64,
    pub last_ts: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
}

/// What a bar says. Two bars that agree here are the same bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub values: Values,
    pub is_closed: bool,
    pub is_complete: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    pub content: Content,
    pub revision: i64,
    pub computed_at: i64,
    /// It stands in gold like this; false for what this refresh has computed.
    pub is_committed: bool,
}

/// A bar as the model computes it: `values` is `None` where a sum does not fit its column.
#[derive(Debug, Clone)]
pub struct Computed {
    pub key: Key,
    pub values: Option<Values>,
    /// Sum of price over fills, scale 12; `None` where `values` is.
    pub price_sum: Option<Wide>,
    /// The most that a trade of the bar counts for.
    pub priced_by: CountsFor,
    /// Trades of the bar: with aggregates fewer than its fills.
    pub rows: i64,
}

/// The seqs of a bar's trades have no hole between them.
pub fn is_whole(values: &Values, rows: i64) -> bool {
    let spans = values
        .last_seq
        .checked_sub(values.first_seq)
        .and_then(|span| span.checked_add(1));
    spans == Some(rows)
}

/// A hole inside, or to the bar before or after, says no: a trade that is missing there may belong to either. A side without a bar leaves it
/// open. `before`: last seq of the bar before; `after`: first seq of the bar after.
pub fn is_complete(is_whole: bool, values: &Values, before: Option<i64>, after: Option<i64>) -> Option<bool> {
    let meets = |left: i64, right: i64| left.checked_add(1) == Some(right);
    let follows = before.map(|before| meets(before, values.first_seq));
    let is_followed = after.map(|after| meets(values.last_seq, after));
    if !is_whole || follows == Some(false) || is_followed == Some(false) {
        return Some(false);
    }
    follows.and(is_followed)
}

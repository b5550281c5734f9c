//! Bars the plain way: sort the trades, take the ends, add up in integers of any size. Shares nothing with the aggregate.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use rounding::{even_quotient, to_i128};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    pub symbol: String,
    /// Microseconds since the epoch.
    pub ts: i64,
    pub seq: i64,
    pub trade_id: String,
    /// Unscaled, 12 decimals.
    pub price: i128,
    /// Unscaled, 10 decimals.
    pub qty: i128,
    pub side: Option<String>,
    pub count: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldedBar {
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
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
    pub row_count: i64,
}

/// Bars by (symbol, window start); `None` where a sum has more than 38 digits or one product more than 127 bits.
pub fn fold(trades: &[Trade], window_us: i64) -> BTreeMap<(String, i64), Option<FoldedBar>> {
    let mut sorted = trades.to_vec();
    sorted.sort_by(|a, b| (a.ts, a.seq, &a.trade_id, a.price).cmp(&(b.ts, b.seq, &b.trade_id, b.price)));
    let mut windows: BTreeMap<(String, i64), Vec<Trade>> = BTreeMap::new();
    for trade in sorted {
        let start = trade.ts.div_euclid(window_us) * window_us;
        windows.entry((trade.symbol.clone(), start)).or_default().push(trade);
    }
    windows.into_iter().map(|(key, trades)| (key, bar(&trades))).collect()
}

fn bar(trades: &[Trade]) -> Option<FoldedBar> {
    let sum = |value: &dyn Fn(&Trade) -> BigInt| trades.iter().map(value).sum::<BigInt>();
    let bought = |trade: &Trade| BigInt::from(i64::from(trade.side.as_deref() == Some("buy")));
    let quote = |trade: &Trade| BigInt::from(trade.price) * BigInt::from(trade.qty);
    if trades.iter().any(|trade| {
        i128::try_from(quote(trade)).is_err() || i128::try_from(BigInt::from(trade.price) * trade.count).is_err()
    }) {
        return None;
    }
    let volume = sum(&|trade| BigInt::from(trade.qty));
    let quote_volume = sum(&quote);
    let fills = sum(&|trade| BigInt::from(trade.count));
    let prices = sum(&|trade| BigInt::from(trade.price) * trade.count);
    let is_traded = volume != BigInt::ZERO;
    let (first, last) = (&trades[0], &trades[trades.len() - 1]);
    Some(FoldedBar {
        open: first.price,
        high: trades.iter().map(|trade| trade.price).max()?,
        low: trades.iter().map(|trade| trade.price).min()?,
        close: last.price,
        vwap: if is_traded {
            Some(even_quotient(&quote_volume, &volume))
        } else {
            None
        },
        avg_price: if is_traded {
            Some(even_quotient(&prices, &fills))
        } else {
            None
        },
        volume: to_i128(&volume)?,
        quote_volume: to_i128(&quote_volume)?,
        trade_count: i64::try_from(fills).ok()?,
        taker_buy_volume: to_i128(&sum(&|trade| bought(trade) * trade.qty))?,
        taker_buy_quote_volume: to_i128(&sum(&|trade| bought(trade) * quote(trade)))?,
        first_seq: first.seq,
        last_seq: last.seq,
        first_ts: first.ts,
        last_ts: last.ts,
        row_count: trades.len() as i64,
    })
}

mod rounding {
    use num_bigint::BigInt;

    /// The value where it has at most 38 digits.
    pub fn to_i128(value: &BigInt) -> Option<i128> {
        i128::try_from(value.clone())
            .ok()
            .filter(|value| value.unsigned_abs().to_string().len() <= 38)
    }

    /// Quotient of two non-negative integers to the nearest, ties to even: by schoolbook on twice the remainder.
    pub fn even_quotient(numerator: &BigInt, denominator: &BigInt) -> i128 {
        let quotient = numerator / denominator;
        let twice: BigInt = (numerator - &quotient * denominator) * 2;
        let is_odd = &quotient % 2 != BigInt::ZERO;
        let up = twice > *denominator || (twice == *denominator && is_odd);
        i128::try_from(if up { quotient + 1 } else { quotient }).unwrap()
    }
}

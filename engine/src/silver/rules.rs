//! The validity rules of one trade, in the order in which they name it. They look at the record alone, never at the clock or at other
//! trades (`repeats` does that), so the verdict on a row is the same whenever it is passed.

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use ticklake_sql::decimal::{self, DecimalError};

use super::columns::{micros, strings, text};
use crate::{Error, Result};

/// DECIMAL(28,12), DECIMAL(28,10) and DECIMAL(38,22): market-data evidence in `sql/tables/silver_trades.sql`.
pub const PRICE: (u8, u8) = (28, 12);
pub const QTY: (u8, u8) = (28, 10);
pub const QUOTE_QTY: (u8, u8) = (38, 22);

/// 10^38: the first unscaled value that DECIMAL(38, s) does not hold.
const NOTIONAL_LIMIT: i128 = 10i128.pow(38);

#[derive(Debug, Clone)]
pub struct Rules {
    /// Trades before this UTC date are set aside.
    pub earliest: NaiveDate,
    /// Trades further than this after their own arrival are set aside.
    pub ts_ahead: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            earliest: NaiveDate::from_ymd_opt(2009, 1, 1).unwrap_or_default(),
            ts_ahead: Duration::from_secs(24 * 60 * 60),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    PriceNotPositive,
    QtyNotPositive,
    PriceInexact,
    QtyInexact,
    PriceOutOfRange,
    QtyOutOfRange,
    NotionalOverflow,
    TsTooLate,
    TsTooEarly,
    NoReference,
    ConflictingRepeat,
}

impl Rule {
    /// The name in the `rule` column.
    pub fn name(self) -> &'static str {
        match self {
            Self::PriceNotPositive => "price_not_positive",
            Self::QtyNotPositive => "qty_not_positive",
            Self::PriceInexact => "price_inexact",
            Self::QtyInexact => "qty_inexact",
            Self::PriceOutOfRange => "price_out_of_range",
            Self::QtyOutOfRange => "qty_out_of_range",
            Self::NotionalOverflow => "notional_overflow",
            Self::TsTooLate => "ts_too_late",
            Self::TsTooEarly => "ts_too_early",
            Self::NoReference => "no_reference",
            Self::ConflictingRepeat => "conflicting_repeat",
        }
    }
}

/// A bronze row that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub row: u32,
    pub rule: Rule,
    pub detail: String,
}

/// The verdict on a batch of bronze rows. The decimals stand for every row, 0 where the row broke a rule.
#[derive(Debug, Default)]
pub struct Judged {
    pub price: Vec<i128>,
    pub qty: Vec<i128>,
    pub quote_qty: Vec<i128>,
    /// In row order.
    pub broken: Vec<Broken>,
}

impl Rules {
    /// The same for a table that holds nothing before `low_water` any more: a late trade of a date that retention has taken out may be a repeat,
    /// and its bar may stand on trades that are gone.
    pub fn above(&self, low_water: Option<NaiveDate>) -> Self {
        Self {
            earliest: low_water.map_or(self.earliest, |date| date.max(self.earliest)),
            ..self.clone()
        }
    }

    pub fn judge(&self, bronze: &RecordBatch) -> Result<Judged> {
        let (price, qty) = (strings(bronze, "price")?, strings(bronze, "qty")?);
        let (ts, received_at) = (micros(bronze, "ts")?, micros(bronze, "received_at")?);
        let (kind, reference) = (strings(bronze, "kind")?, strings(bronze, "ref_trade_id")?);
        let rows = bronze.num_rows();
        let earliest_us = self
            .earliest
            .and_time(chrono::NaiveTime::MIN)
            .and_utc()
            .timestamp_micros();
        let ahead_us = i64::try_from(self.ts_ahead.as_micros())
            .map_err(|_| Error::Invalid("silver.ts_ahead is too long: write e.g. \"1d\"".into()))?;

        let mut judged = Judged {
            price: Vec::with_capacity(rows),
            qty: Vec::with_capacity(rows),
            quote_qty: Vec::with_capacity(rows),
            broken: Vec::new(),
        };
        for row in 0..rows {
            let trade = Trade {
                price: price.value(row),
                qty: qty.value(row),
                ts: ts.value(row),
                received_at: received_at.value(row),
                kind: kind.value(row),
                names_a_trade: text(reference, row).is_some_and(|id| !id.is_empty()),
            };
            let (price, qty, quote_qty) = match trade.judge(earliest_us, ahead_us) {
                Ok(values) => values,
                Err((rule, detail)) => {
                    judged.broken.push(Broken {
                        row: u32::try_from(row).unwrap_or(u32::MAX),
                        rule,
                        detail,
                    });
                    (0, 0, 0)
                }
            };
            judged.price.push(price);
            judged.qty.push(qty);
            judged.quote_qty.push(quote_qty);
        }
        Ok(judged)
    }
}

struct Trade<'a> {
    price: &'a str,
    qty: &'a str,
    /// Microseconds since the epoch, UTC, as `received_at`.
    ts: i64,
    received_at: i64,
    kind: &'a str,
    /// `ref_trade_id` holds an id.
    names_a_trade: bool,
}

impl Trade<'_> {
    /// Unscaled price, quantity and product, or the first rule broken and what broke it.
    fn judge(&self, earliest_us: i64, ahead_us: i64) -> Result<(i128, i128, i128), (Rule, String)> {
        let price = decimal::parse(self.price, PRICE.0, PRICE.1);
        let qty = decimal::parse(self.qty, QTY.0, QTY.1);
        // A cancel takes a trade away: venues that send no price with it send zeros.
        let may_be_zero = self.kind == "cancel";
        if !(positive(self.price, price) || may_be_zero && price == Ok(0)) {
            return Err((Rule::PriceNotPositive, format!("price is {}", self.price)));
        }
        if !(positive(self.qty, qty) || may_be_zero && qty == Ok(0)) {
            return Err((Rule::QtyNotPositive, format!("qty is {}", self.qty)));
        }
        if price == Err(DecimalError::Inexact) {
            return Err((
                Rule::PriceInexact,
                format!("price {} has more than {} decimals", self.price, PRICE.1),
            ));
        }
        if qty == Err(DecimalError::Inexact) {
            return Err((
                Rule::QtyInexact,
                format!("qty {} has more than {} decimals", self.qty, QTY.1),
            ));
        }
        let price = price.map_err(|_| {
            (
                Rule::PriceOutOfRange,
                format!("price {} does not fit DECIMAL({},{})", self.price, PRICE.0, PRICE.1),
            )
        })?;
        let qty = qty.map_err(|_| {
            (
                Rule::QtyOutOfRange,
                format!("qty {} does not fit DECIMAL({},{})", self.qty, QTY.0, QTY.1),
            )
        })?;
        let quote_qty = price
            .checked_mul(qty)
            .filter(|product| *product < NOTIONAL_LIMIT)
            .ok_or_else(|| {
                (
                    Rule::NotionalOverflow,
                    format!(
                        "price {} x qty {} does not fit DECIMAL({},{})",
                        self.price, self.qty, QUOTE_QTY.0, QUOTE_QTY.1
                    ),
                )
            })?;
        if self.ts.saturating_sub(self.received_at) > ahead_us {
            return Err((
                Rule::TsTooLate,
                format!(
                    "ts {} is too far after received_at {}",
                    utc(self.ts),
                    utc(self.received_at)
                ),
            ));
        }
        if self.ts < earliest_us {
            return Err((
                Rule::TsTooEarly,
                format!("ts {} is before {}", utc(self.ts), utc(earliest_us)),
            ));
        }
        if matches!(self.kind, "cancel" | "correct") && !self.names_a_trade {
            return Err((
                Rule::NoReference,
                format!("a {} names no trade in ref_trade_id", self.kind),
            ));
        }
        Ok((price, qty, quote_qty))
    }
}

/// False for zero and for anything below it, exact or not. What is no number at all falls to the range rules.
fn positive(text: &str, parsed: Result<i128, DecimalError>) -> bool {
    match parsed {
        Ok(value) => value > 0,
        Err(DecimalError::Inexact | DecimalError::OutOfRange) => !text.trim_start().starts_with('-'),
        Err(DecimalError::NotANumber) => true,
    }
}

/// RFC 3339 in microseconds; the number itself outside chrono's years.
pub fn utc(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us).map_or_else(
        || format!("{us} us"),
        |ts| ts.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
    )
}

/// An unscaled decimal as shortest exact text: `(1_500, 3)` is `1.5`.
pub fn plain(unscaled: i128, scale: u8) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    let fraction = fraction.trim_end_matches('0');
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;
    const RECEIVED: i64 = 1_735_689_600_000_000;
    const EARLIEST: i64 = 1_230_768_000_000_000;

    #[track_caller]
    fn check(price: &str, qty: &str, ts: i64, expected: Result<(i128, i128, i128), Rule>) {
        let trade = Trade {
            price,
            qty,
            ts,
            received_at: RECEIVED,
            kind: "trade",
            names_a_trade: false,
        };
        assert_eq!(
            trade.judge(EARLIEST, DAY_US).map_err(|(rule, _)| rule),
            expected,
            "{price} {qty} {ts}"
        );
    }

    #[test]
    fn each_rule_names_its_trade() {
        check(
            "64231.12",
            "0.0125",
            RECEIVED,
            Ok((
                64_231_120_000_000_000,
                125_000_000,
                64_231_120_000_000_000 * 125_000_000,
            )),
        );
        check("0", "1", RECEIVED, Err(Rule::PriceNotPositive));
        check("-1.5", "1", RECEIVED, Err(Rule::PriceNotPositive));
        check("-0.0000000000001", "1", RECEIVED, Err(Rule::PriceNotPositive));
        check("1", "0.000", RECEIVED, Err(Rule::QtyNotPositive));
        check("1", "-3", RECEIVED, Err(Rule::QtyNotPositive));
        check("0.0000000000001", "1", RECEIVED, Err(Rule::PriceInexact));
        check("1", "0.00000000001", RECEIVED, Err(Rule::QtyInexact));
        check("10000000000000000", "1", RECEIVED, Err(Rule::PriceOutOfRange));
        check("1e400", "1", RECEIVED, Err(Rule::PriceOutOfRange));
        check("NaN", "1", RECEIVED, Err(Rule::PriceOutOfRange));
        check("1", "1000000000000000000", RECEIVED, Err(Rule::QtyOutOfRange));
        check("9999999999999999", "1.1", RECEIVED, Err(Rule::NotionalOverflow));
        check(
            "9999999999999999",
            "999999999999999999",
            RECEIVED,
            Err(Rule::NotionalOverflow),
        );
        check(
            "1",
            "9999999999999999",
            RECEIVED,
            Ok((
                10i128.pow(12),
                9_999_999_999_999_999 * 10i128.pow(10),
                9_999_999_999_999_999 * 10i128.pow(22),
            )),
        );
        check(
            "1",
            "1",
            RECEIVED + DAY_US,
            Ok((10i128.pow(12), 10i128.pow(10), 10i128.pow(22))),
        );
        check("1", "1", RECEIVED + DAY_US + 1, Err(Rule::TsTooLate));
        check("1", "1", EARLIEST, Ok((10i128.pow(12), 10i128.pow(10), 10i128.pow(22))));
        check("1", "1", EARLIEST - 1, Err(Rule::TsTooEarly));
        check("1", "1", 0, Err(Rule::TsTooEarly));
        check("1", "1", i64::MAX, Err(Rule::TsTooLate));
    }

    #[test]
    fn an_amendment_names_its_trade_and_a_cancel_needs_no_price() {
        let judge = |kind, price, names_a_trade| {
            let amendment = Trade {
                price,
                qty: "0",
                ts: RECEIVED,
                received_at: RECEIVED,
                kind,
                names_a_trade,
            };
            amendment.judge(EARLIEST, DAY_US).map_err(|(rule, _)| rule)
        };
        assert_eq!(judge("cancel", "0", true), Ok((0, 0, 0)));
        assert_eq!(judge("cancel", "0", false), Err(Rule::NoReference));
        assert_eq!(judge("cancel", "-1", true), Err(Rule::PriceNotPositive));
        assert_eq!(judge("correct", "1", true), Err(Rule::QtyNotPositive));
        assert_eq!(judge("trade", "0", true), Err(Rule::PriceNotPositive));
    }

    #[test]
    fn the_first_broken_rule_names_the_trade() {
        check("0", "0", 0, Err(Rule::PriceNotPositive));
        check("0.0000000000001", "0", 0, Err(Rule::QtyNotPositive));
        check("0.0000000000001", "1000000000000000000", 0, Err(Rule::PriceInexact));
    }

    #[test]
    fn decimals_print_exactly() {
        for (unscaled, scale, text) in [
            (1_500i128, 3u8, "1.5"),
            (0, 12, "0"),
            (5, 12, "0.000000000005"),
            (10i128.pow(12), 12, "1"),
            (-1_050, 2, "-10.5"),
            (42, 0, "42"),
        ] {
            assert_eq!(plain(unscaled, scale), text);
        }
    }
}

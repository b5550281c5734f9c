//! The arguments of the aggregate as typed columns: what a batch of trades looks like to the fold.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringViewArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};

pub const PRICE_PRECISION: u8 = 28;
pub const PRICE_SCALE: i8 = 12;
pub const QTY_PRECISION: u8 = 28;
pub const QTY_SCALE: i8 = 10;

/// Positions of the arguments. The last may be left out: every trade then counts for price.
pub const ARGUMENTS: [&str; 8] = ["ts", "seq", "trade_id", "price", "qty", "side", "count", "counts_for"];
/// Arguments that must be there.
const REQUIRED: usize = 7;

/// What a trade counts for, beside volume. Ordered: the more comes later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountsFor {
    /// Nothing else: no price of the bar is its.
    #[default]
    Volume,
    /// High and low; open and close only where no trade of the bar counts for price.
    Range,
    /// Open, high, low and close.
    Price,
}

impl CountsFor {
    pub const ALL: [Self; 3] = [Self::Volume, Self::Range, Self::Price];

    /// As rules spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Range => "range",
            Self::Price => "price",
        }
    }

    pub fn rank(self) -> i8 {
        self as i8
    }

    /// `None` for what is no rank.
    pub fn of_rank(rank: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.rank() == rank)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }
}

/// One batch of trades, column by column.
pub struct Trades {
    pub ts: ScalarBuffer<i64>,
    pub seq: ScalarBuffer<i64>,
    pub trade_id: StringViewArray,
    /// Unscaled DECIMAL(28,12).
    pub price: ScalarBuffer<i128>,
    /// Unscaled DECIMAL(28,10).
    pub qty: ScalarBuffer<i128>,
    pub count: ScalarBuffer<i64>,
    /// The taker bought.
    pub bought: Vec<bool>,
    /// `None`: each counts for price.
    pub counts_for: Option<Vec<CountsFor>>,
    /// Rows that count; `None`: all do. A row with a NULL anywhere but in `side` and `trade_id` is no trade.
    pub valid: Option<NullBuffer>,
}

impl Trades {
    pub fn new(arguments: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Self> {
        let [ts, seq, trade_id, price, qty, side, count, rest @ ..] = arguments else {
            return exec_err!("ohlcv takes {} arguments, got {}", ARGUMENTS.len(), arguments.len());
        };
        let mut valid = None;
        for column in [ts, seq, price, qty, count] {
            valid = NullBuffer::union(valid.as_ref(), column.nulls());
        }
        if let Some(filter) = filter {
            let passes = NullBuffer::new(filter.values().clone());
            valid = NullBuffer::union(
                NullBuffer::union(valid.as_ref(), Some(&passes)).as_ref(),
                filter.nulls(),
            );
        }
        Ok(Self {
            ts: ts.as_primitive::<TimestampMicrosecondType>().values().clone(),
            seq: seq.as_primitive::<Int64Type>().values().clone(),
            trade_id: trade_id.as_string_view().clone(),
            price: price.as_primitive::<Decimal128Type>().values().clone(),
            qty: qty.as_primitive::<Decimal128Type>().values().clone(),
            count: count.as_primitive::<Int64Type>().values().clone(),
            bought: bought(side.as_string_view()),
            counts_for: match rest.first() {
                Some(column) => counts_for(column.as_string_view())?,
                None => None,
            },
            valid: valid.filter(|nulls| nulls.null_count() > 0),
        })
    }

    pub fn len(&self) -> usize {
        self.ts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.is_valid(row))
    }

    /// The id of a row; empty where it is NULL.
    pub fn id(&self, row: usize) -> &str {
        if self.trade_id.is_null(row) {
            ""
        } else {
            self.trade_id.value(row)
        }
    }

    /// Calls `each(from, until, key)` for every run of valid rows with one key.
    pub fn for_each_run<K: Copy + PartialEq>(&self, keys: &[K], mut each: impl FnMut(usize, usize, K)) {
        let mut from = 0;
        while from < keys.len() {
            if !self.is_valid(from) {
                from += 1;
                continue;
            }
            let key = keys[from];
            let mut until = from + 1;
            while until < keys.len() && keys[until] == key && self.is_valid(until) {
                until += 1;
            }
            each(from, until, key);
            from = until;
        }
    }
}

/// NULL is price; `None` where all are.
fn counts_for(column: &StringViewArray) -> Result<Option<Vec<CountsFor>>> {
    const PRICE: u128 = 5 | u128::from_le_bytes(*b"\0\0\0\0price\0\0\0\0\0\0\0");
    let is_price = |(row, view): (usize, &u128)| *view == PRICE || column.is_null(row);
    if column.views().iter().enumerate().all(is_price) {
        return Ok(None);
    }
    let parsed = column.iter().map(|text| match text {
        None => Ok(CountsFor::Price),
        Some(text) => match CountsFor::parse(text) {
            Some(known) => Ok(known),
            None => exec_err!("a trade counts for 'price', 'range' or 'volume', not for '{text}'"),
        },
    });
    parsed.collect::<Result<_>>().map(Some)
}

/// A text of at most 12 bytes lies in its view, length first: comparing views compares texts.
fn bought(side: &StringViewArray) -> Vec<bool> {
    const BUY: u128 = 3 | (b'b' as u128) << 32 | (b'u' as u128) << 40 | (b'y' as u128) << 48;
    match side.nulls() {
        None => side.views().iter().map(|view| *view == BUY).collect(),
        Some(nulls) => side
            .views()
            .iter()
            .zip(nulls)
            .map(|(view, known)| known && *view == BUY)
            .collect(),
    }
}

/// What the arguments are cast to, or what is wrong with them. A cast that could round or overflow is refused: cast in the query and mean it.
pub fn coerce(types: &[DataType]) -> Result<Vec<DataType>> {
    use DataType::{
        Decimal32, Decimal64, Decimal128, Int8, Int16, Int32, Int64, Null, Timestamp, UInt8, UInt16, UInt32,
    };
    if types.len() != ARGUMENTS.len() && types.len() != REQUIRED {
        return datafusion::common::plan_err!("ohlcv takes ({}), got {} arguments", ARGUMENTS.join(", "), types.len());
    }
    let is_text = |t: &DataType| match t {
        DataType::Dictionary(_, values) => values.is_string(),
        other => other.is_string() || *other == Null,
    };
    let is_integer = |t: &DataType| matches!(t, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Null);
    let fits = |t: &DataType, precision: u8, scale: i8| match t {
        Decimal32(p, s) | Decimal64(p, s) | Decimal128(p, s) => {
            *s <= scale && i16::from(*p) - i16::from(*s) <= i16::from(precision) - i16::from(scale)
        }
        other => is_integer(other),
    };
    let mut coerced = Vec::with_capacity(types.len());
    for (name, given) in ARGUMENTS.iter().zip(types) {
        let wanted = match (*name, given) {
            ("ts", Timestamp(arrow::datatypes::TimeUnit::Microsecond, _)) => Some(given.clone()),
            ("seq" | "count", t) if is_integer(t) => Some(Int64),
            ("trade_id" | "side" | "counts_for", t) if is_text(t) => Some(DataType::Utf8View),
            ("price", t) if fits(t, PRICE_PRECISION, PRICE_SCALE) => Some(Decimal128(PRICE_PRECISION, PRICE_SCALE)),
            ("qty", t) if fits(t, QTY_PRECISION, QTY_SCALE) => Some(Decimal128(QTY_PRECISION, QTY_SCALE)),
            _ => None,
        };
        match wanted {
            Some(wanted) => coerced.push(wanted),
            None => {
                return datafusion::common::plan_err!(
                    "ohlcv cannot take {given} as {name}; it takes ts TIMESTAMP (microseconds), seq BIGINT, trade_id STRING, price DECIMAL(28,12), qty DECIMAL(28,10), side STRING, count BIGINT, counts_for STRING: add a CAST"
                );
            }
        }
    }
    Ok(coerced)
}

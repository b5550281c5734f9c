//! Silver trades for benchmarks: seeded, so that two runs write the same files; a stretch of a day, sorted as silver sorts.
//!
//! Fifty random walks of different rate, price and volatility, ids that grow by one a trade.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use ticklake_sql::Table;

/// 2026-01-05T00:00:00Z.
pub const START_US: i64 = 1_767_571_200_000_000;
pub const DATE: &str = "2026-01-05";
const SYMBOLS: u64 = 50;

pub struct Market {
    random: u64,
    ts: i64,
    seq: Vec<i64>,
    /// Unscaled, 12 decimals.
    price: Vec<i64>,
}

struct Row {
    symbol: u64,
    ts: i64,
    seq: i64,
    price: i128,
    qty: i128,
    buy: bool,
}

impl Market {
    pub fn new() -> Self {
        Self {
            random: 42,
            ts: START_US,
            seq: (0..SYMBOLS as i64).map(|symbol| 1_000_000_000 * symbol).collect(),
            price: (0..SYMBOLS)
                .map(|symbol| 10i64.pow(11 + (symbol % 6) as u32) * (1 + symbol as i64 % 9))
                .collect(),
        }
    }

    /// splitmix64
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next `count` trades, about 4 ms apart. `sorted`: as silver sorts; else as they happen.
    pub fn batch(&mut self, table: &Table, count: u64, sorted: bool) -> RecordBatch {
        let mut rows: Vec<Row> = (0..count).map(|_| self.trade()).collect();
        if sorted {
            rows.sort_by_key(|row| (row.symbol, row.ts, row.seq));
        }
        encode(table, &rows)
    }

    fn trade(&mut self) -> Row {
        if self.next().is_multiple_of(3) {
            self.ts += (self.next() % 24_000) as i64;
        }
        // The lower the number, the busier the symbol.
        let symbol = (self.next() % SYMBOLS).min(self.next() % SYMBOLS);
        let at = symbol as usize;
        let tick = (self.price[at] / 50_000).max(10_000) / 10_000 * 10_000;
        self.price[at] = (self.price[at] + (self.next() % 5) as i64 * tick - 2 * tick).max(tick);
        self.seq[at] += 1;
        Row {
            symbol,
            ts: self.ts,
            seq: self.seq[at],
            price: i128::from(self.price[at]),
            qty: i128::from(self.next() % 1_000_000 + 1) * 1_000,
            buy: self.next().is_multiple_of(2),
        }
    }
}

/// Of one width, so that their order is that of the numbers.
pub fn symbol_name(symbol: u64) -> String {
    format!("COIN{symbol:02}-USDT")
}

fn encode(table: &Table, rows: &[Row]) -> RecordBatch {
    let all = |text: &str| -> ArrayRef { Arc::new(rows.iter().map(|_| Some(text)).collect::<StringArray>()) };
    let texts =
        |text: &dyn Fn(&Row) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(text))) };
    let longs =
        |value: &dyn Fn(&Row) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(value))) };
    let times = |value: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(value)).with_timezone("UTC"))
    };
    let decimals = |value: &dyn Fn(&Row) -> i128, field: &arrow::datatypes::FieldRef| -> ArrayRef {
        let values = Decimal128Array::from_iter_values(rows.iter().map(value));
        Arc::new(values.with_data_type(field.data_type().clone()))
    };
    let schema = table.spec().file_schema();
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        match field.name().as_str() {
            "venue" => all("sim"),
            "kind" => all("trade"),
            "source" => all("sim"),
            "origin" => all("kafka"),
            "topic" => all("trades"),
            "symbol" => texts(&|row| symbol_name(row.symbol)),
            "trade_id" => texts(&|row| row.seq.to_string()),
            "side" => texts(&|row| if row.buy { "buy" } else { "sell" }.to_owned()),
            "seq" | "offset" => longs(&|row| row.seq),
            "count" => longs(&|_| 1),
            "ts" | "received_at" => times(&|row| row.ts),
            "ingested_at" => times(&|row| row.ts / 500_000 * 500_000),
            "price" => decimals(&|row| row.price, field),
            "qty" => decimals(&|row| row.qty, field),
            "quote_qty" => decimals(&|row| row.price * row.qty, field),
            "partition" => Arc::new(Int32Array::from_iter_values(
                rows.iter().map(|row| (row.symbol % 10) as i32),
            )),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

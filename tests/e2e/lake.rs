//! Reads a lake's folder as anybody could, with deltalake and DataFusion, and holds it against the rules of the tables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::prelude::SessionContext;

/// A trade as the fold needs it: price with 12 decimals, qty with 10, both as integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trade {
    pub venue: String,
    pub symbol: String,
    pub ts_us: i64,
    pub seq: i64,
    pub trade_id: String,
    pub price: i128,
    pub qty: i128,
    pub buy: bool,
    pub count: i64,
}

/// (venue, symbol, window start in microseconds).
pub type BarKey = (String, String, i64);

/// Every column of a bar that is a function of its trades alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    pub window_end_us: i64,
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
    pub first_ts_us: i64,
    pub last_ts_us: i64,
}

pub struct LakeFolder(pub PathBuf);

impl LakeFolder {
    /// The newest version of `schema.table`; `None` while there is no such table.
    fn rows(&self, table: &str, columns: &[&str]) -> Option<Vec<RecordBatch>> {
        let folder = self.0.join(table.replace('.', "/"));
        if !folder.join("_delta_log").exists() {
            return None;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Some(runtime.block_on(async {
            let url = url::Url::from_directory_path(folder.canonicalize().unwrap()).unwrap();
            let delta = deltalake::open_table(url).await.unwrap();
            let context = SessionContext::new();
            let rows = context.read_table(delta.table_provider().await.unwrap()).unwrap();
            rows.select_columns(columns).unwrap().collect().await.unwrap()
        }))
    }

    pub fn count(&self, table: &str, column: &str) -> usize {
        self.rows(table, &[column])
            .unwrap_or_default()
            .iter()
            .map(RecordBatch::num_rows)
            .sum()
    }

    /// Offsets of bronze.trades and bronze.dead_letters by partition, sorted.
    pub fn bronze_offsets(&self) -> BTreeMap<i32, Vec<i64>> {
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for table in ["bronze.trades", "bronze.dead_letters"] {
            for batch in self.rows(table, &["partition", "offset"]).unwrap_or_default() {
                let partitions = batch.column(0).as_primitive::<Int32Type>();
                for (partition, offset) in partitions
                    .values()
                    .iter()
                    .zip(batch.column(1).as_primitive::<Int64Type>().values())
                {
                    offsets.entry(*partition).or_default().push(*offset);
                }
            }
        }
        offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
        offsets
    }

    /// Every offset from 0 on is there once. Returns how many records that are.
    pub fn assert_bronze_is_exact(&self) -> usize {
        let offsets = self.bronze_offsets();
        for (partition, offsets) in &offsets {
            let expected: Vec<i64> = (0..offsets.len() as i64).collect();
            assert!(
                *offsets == expected,
                "partition {partition}: {} offsets are not 0..{}",
                offsets.len(),
                offsets.len()
            );
        }
        offsets.values().map(Vec::len).sum()
    }

    pub fn silver(&self) -> Vec<Trade> {
        let columns = [
            "venue", "symbol", "ts", "seq", "trade_id", "price", "qty", "side", "count",
        ];
        let mut trades = Vec::new();
        for batch in self.rows("silver.trades", &columns).unwrap_or_default() {
            let text = |column: usize| texts(&batch, column);
            let (venues, symbols, ids, sides) = (text(0), text(1), text(4), text(7));
            for row in 0..batch.num_rows() {
                trades.push(Trade {
                    venue: venues[row].clone().unwrap(),
                    symbol: symbols[row].clone().unwrap(),
                    ts_us: batch.column(2).as_primitive::<TimestampMicrosecondType>().value(row),
                    seq: batch.column(3).as_primitive::<Int64Type>().value(row),
                    trade_id: ids[row].clone().unwrap(),
                    price: batch.column(5).as_primitive::<Decimal128Type>().value(row),
                    qty: batch.column(6).as_primitive::<Decimal128Type>().value(row),
                    buy: sides[row].as_deref() == Some("buy"),
                    count: batch.column(8).as_primitive::<Int64Type>().value(row),
                });
            }
        }
        trades
    }

    pub fn assert_silver_is_unique(&self) -> usize {
        let trades = self.silver();
        let mut seen = HashSet::new();
        for trade in &trades {
            assert!(
                seen.insert((&trade.venue, &trade.symbol, &trade.trade_id)),
                "twice in silver: {trade:?}"
            );
        }
        trades.len()
    }

    pub fn bars(&self, interval: &str) -> BTreeMap<BarKey, Bar> {
        let columns = [
            "venue",
            "symbol",
            "window_start",
            "window_end",
            "open",
            "high",
            "low",
            "close",
            "volume",
            "quote_volume",
            "vwap",
            "avg_price",
            "trade_count",
            "taker_buy_volume",
            "taker_buy_quote_volume",
            "first_seq",
            "last_seq",
            "first_ts",
            "last_ts",
        ];
        let mut bars = BTreeMap::new();
        for batch in self
            .rows(&format!("gold.ohlcv_{interval}"), &columns)
            .unwrap_or_default()
        {
            let (venues, symbols) = (texts(&batch, 0), texts(&batch, 1));
            for row in 0..batch.num_rows() {
                let time = |column: usize| {
                    batch
                        .column(column)
                        .as_primitive::<TimestampMicrosecondType>()
                        .value(row)
                };
                let decimal = |column: usize| batch.column(column).as_primitive::<Decimal128Type>().value(row);
                let maybe = |column: usize| batch.column(column).is_valid(row).then(|| decimal(column));
                let integer = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
                let bar = Bar {
                    window_end_us: time(3),
                    open: decimal(4),
                    high: decimal(5),
                    low: decimal(6),
                    close: decimal(7),
                    volume: decimal(8),
                    quote_volume: decimal(9),
                    vwap: maybe(10),
                    avg_price: maybe(11),
                    trade_count: integer(12),
                    taker_buy_volume: decimal(13),
                    taker_buy_quote_volume: decimal(14),
                    first_seq: integer(15),
                    last_seq: integer(16),
                    first_ts_us: time(17),
                    last_ts_us: time(18),
                };
                let key = (venues[row].clone().unwrap(), symbols[row].clone().unwrap(), time(2));
                assert!(bars.insert(key.clone(), bar).is_none(), "two bars for {key:?}");
            }
        }
        bars
    }
}

fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let column = arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8).unwrap();
    column
        .as_string::<i32>()
        .iter()
        .map(|text| text.map(str::to_owned))
        .collect()
}

/// The bars of `trades`, folded the plain way: sort, first, greatest, least, last, exact sums.
pub fn fold(trades: &[Trade], interval_us: i64) -> BTreeMap<BarKey, Bar> {
    let mut windows: HashMap<BarKey, Vec<&Trade>> = HashMap::new();
    for trade in trades {
        let start = trade.ts_us.div_euclid(interval_us) * interval_us;
        windows
            .entry((trade.venue.clone(), trade.symbol.clone(), start))
            .or_default()
            .push(trade);
    }
    windows
        .into_iter()
        .map(|(key, mut trades)| {
            trades.sort_by(|a, b| (a.ts_us, a.seq, &a.trade_id).cmp(&(b.ts_us, b.seq, &b.trade_id)));
            let (first, last) = (trades[0], trades[trades.len() - 1]);
            let volume: i128 = trades.iter().map(|trade| trade.qty).sum();
            let quote_volume: i128 = trades.iter().map(|trade| trade.price * trade.qty).sum();
            let count: i64 = trades.iter().map(|trade| trade.count).sum();
            let price_sum: i128 = trades.iter().map(|trade| trade.price * i128::from(trade.count)).sum();
            let buys = || trades.iter().filter(|trade| trade.buy);
            let bar = Bar {
                window_end_us: key.2 + interval_us,
                open: first.price,
                high: trades.iter().map(|trade| trade.price).max().unwrap(),
                low: trades.iter().map(|trade| trade.price).min().unwrap(),
                close: last.price,
                volume,
                quote_volume,
                vwap: (volume != 0).then(|| half_even(quote_volume, volume)),
                avg_price: (volume != 0).then(|| half_even(price_sum, i128::from(count))),
                trade_count: count,
                taker_buy_volume: buys().map(|trade| trade.qty).sum(),
                taker_buy_quote_volume: buys().map(|trade| trade.price * trade.qty).sum(),
                first_seq: first.seq,
                last_seq: last.seq,
                first_ts_us: first.ts_us,
                last_ts_us: last.ts_us,
            };
            (key, bar)
        })
        .collect()
}

/// Scales already agree: 22 - 10 = 12 decimals for vwap, 12 for the mean price.
fn half_even(numerator: i128, denominator: i128) -> i128 {
    let (quotient, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
    }
}

pub const MINUTE_US: i64 = 60_000_000;

/// Both gold tables hold exactly the bars of `trades`.
pub fn assert_bars_equal_the_fold(lake: &Path, trades: &[Trade]) {
    let lake = LakeFolder(lake.to_owned());
    for (interval, width) in [("1m", MINUTE_US), ("5m", 5 * MINUTE_US)] {
        let (bars, expected) = (lake.bars(interval), fold(trades, width));
        for (key, bar) in &expected {
            assert_eq!(bars.get(key), Some(bar), "gold.ohlcv_{interval} {key:?}");
        }
        assert_eq!(
            bars.len(),
            expected.len(),
            "gold.ohlcv_{interval} has bars that no trade explains"
        );
    }
}

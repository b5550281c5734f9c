//! The bar aggregate against a naive fold written apart from it: sort, take the ends, add up in big integers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use datafusion::datasource::MemTable;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use fold::{FoldedBar, Trade, fold};
use proptest::prelude::*;

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn batch(trades: &[Trade]) -> RecordBatch {
    let fields = vec![
        Field::new("symbol", DataType::Utf8, false),
        Field::new("ts", utc(), false),
        Field::new("seq", DataType::Int64, false),
        Field::new("trade_id", DataType::Utf8, false),
        Field::new("price", DataType::Decimal128(28, 12), false),
        Field::new("qty", DataType::Decimal128(28, 10), false),
        Field::new("side", DataType::Utf8, true),
        Field::new("count", DataType::Int64, false),
    ];
    let decimal = |values: Vec<i128>, scale: i8| {
        Arc::new(
            Decimal128Array::from(values)
                .with_precision_and_scale(28, scale)
                .unwrap(),
        ) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(trades.iter().map(|t| Some(t.symbol.as_str())).collect::<StringArray>()),
        Arc::new(TimestampMicrosecondArray::from(trades.iter().map(|t| t.ts).collect::<Vec<_>>()).with_timezone("UTC")),
        Arc::new(Int64Array::from(trades.iter().map(|t| t.seq).collect::<Vec<_>>())),
        Arc::new(
            trades
                .iter()
                .map(|t| Some(t.trade_id.as_str()))
                .collect::<StringArray>(),
        ),
        decimal(trades.iter().map(|t| t.price).collect(), 12),
        decimal(trades.iter().map(|t| t.qty).collect(), 10),
        Arc::new(trades.iter().map(|t| t.side.as_deref()).collect::<StringArray>()),
        Arc::new(Int64Array::from(trades.iter().map(|t| t.count).collect::<Vec<_>>())),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Bars by (symbol, window start) as the aggregate computes them from `parts`, each part a partition of batches; NULL bars are `None`.
async fn aggregate(
    parts: Vec<Vec<RecordBatch>>,
    context: &SessionContext,
) -> BTreeMap<(String, i64), Option<FoldedBar>> {
    aggregate_spilling(parts, context).await.0
}

/// The same, and how often the plan spilled.
async fn aggregate_spilling(
    parts: Vec<Vec<RecordBatch>>,
    context: &SessionContext,
) -> (BTreeMap<(String, i64), Option<FoldedBar>>, usize) {
    let schema = parts.iter().flatten().next().unwrap().schema();
    context
        .register_table("trades", Arc::new(MemTable::try_new(schema, parts).unwrap()))
        .unwrap();
    let sql = "SELECT symbol, date_bin(INTERVAL '1 minute', ts) AS w, ohlcv(ts, seq, trade_id, price, qty, side, count) AS bar FROM trades GROUP BY 1, 2";
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let batches = datafusion::physical_plan::collect(plan.clone(), context.task_ctx())
        .await
        .unwrap();
    context.deregister_table("trades").unwrap();
    let mut bars = BTreeMap::new();
    for batch in batches {
        let symbols = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        let starts = arrow::compute::cast(batch.column(1), &utc()).unwrap();
        for row in 0..batch.num_rows() {
            let key = (
                symbols.as_string::<i32>().value(row).to_owned(),
                starts.as_primitive::<TimestampMicrosecondType>().value(row),
            );
            assert!(
                bars.insert(key, folded(batch.column(2).as_struct(), row)).is_none(),
                "a bar came twice"
            );
        }
    }
    (bars, spills(&plan))
}

fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    own + plan.children().into_iter().map(spills).sum::<usize>()
}

fn folded(bar: &StructArray, row: usize) -> Option<FoldedBar> {
    use arrow::array::Array;
    if bar.is_null(row) {
        return None;
    }
    let decimal = |name: &str| {
        bar.column_by_name(name)
            .unwrap()
            .as_primitive::<Decimal128Type>()
            .value(row)
    };
    let ratio = |name: &str| bar.column_by_name(name).unwrap().is_valid(row).then(|| decimal(name));
    let integer = |name: &str| bar.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
    let ts = |name: &str| {
        bar.column_by_name(name)
            .unwrap()
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
    };
    Some(FoldedBar {
        open: decimal("open"),
        high: decimal("high"),
        low: decimal("low"),
        close: decimal("close"),
        volume: decimal("volume"),
        quote_volume: decimal("quote_volume"),
        vwap: ratio("vwap"),
        avg_price: ratio("avg_price"),
        trade_count: integer("trade_count"),
        taker_buy_volume: decimal("taker_buy_volume"),
        taker_buy_quote_volume: decimal("taker_buy_quote_volume"),
        first_seq: integer("first_seq"),
        last_seq: integer("last_seq"),
        first_ts: ts("first_ts"),
        last_ts: ts("last_ts"),
        row_count: integer("row_count"),
    })
}

fn context(partitions: usize, batch_size: usize) -> SessionContext {
    let context = SessionContext::new_with_config(
        SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(batch_size),
    );
    ticklake_engine::ohlcv::register(&mut *context.state_ref().write()).unwrap();
    context
}

fn naive(trades: &[Trade]) -> BTreeMap<(String, i64), Option<FoldedBar>> {
    fold(trades, 60_000_000)
}

/// Few symbols, windows, times, ids and prices, so that ties of every depth are common; values from tiny to the widest that the columns hold.
fn trade() -> impl Strategy<Value = Trade> {
    let price = prop_oneof![6 => 1i128..100_000_000_000_000_000, 1 => 1i128..9_999_999_999_999_999_999_999_999_999, 1 => 1i128..4];
    let qty = prop_oneof![6 => 1i128..1_000_000_000_000, 1 => 1i128..9_999_999_999, 1 => 1i128..30_000_000_000_000_000_000, 1 => 0i128..2];
    (
        0..3u8,
        -1i64..2,
        0i64..3,
        0i64..3,
        0..4u8,
        price,
        qty,
        prop_oneof![Just(Some("buy")), Just(Some("sell")), Just(None)],
        prop_oneof![5 => Just(1i64), 1 => 2i64..50],
    )
        .prop_map(|(symbol, minute, micro, seq, id, price, qty, side, count)| Trade {
            symbol: ["A-B", "LONGER-SYMBOL-USDT", "C"][symbol as usize].to_owned(),
            ts: minute * 60_000_000 + micro * 19_999_999,
            seq,
            trade_id: [
                "9",
                "10",
                "a-longer-id-than-twelve-bytes",
                "a-longer-id-than-twelve-byteS",
            ][id as usize]
                .to_owned(),
            price,
            qty,
            side: side.map(str::to_owned),
            count,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_order_split_and_batching_gives_the_naive_bar(
        trades in prop::collection::vec(trade(), 1..120),
        shuffled in any::<prop::sample::Index>(),
        parts in 1usize..4,
        batch_rows in 1usize..40,
        repeat in prop::option::of(any::<prop::sample::Index>()),
        runs in any::<bool>(),
    ) {
        let mut trades = trades;
        if let Some(repeat) = repeat {
            let again = repeat.get(&trades).clone();
            trades.push(again);
        }
        let expected = naive(&trades);
        let pivot = shuffled.index(trades.len());
        trades.rotate_left(pivot);
        trades[pivot..].reverse();
        if runs {
            // The rows of a bar stand together, in any order among themselves.
            trades.sort_by_key(|trade| (trade.symbol.clone(), trade.ts.div_euclid(60_000_000)));
        }
        let batches: Vec<RecordBatch> = trades.chunks(batch_rows).map(batch).collect();
        let mut split = vec![Vec::new(); parts];
        batches.into_iter().enumerate().for_each(|(at, batch)| split[at % parts].push(batch));
        split.retain(|part| !part.is_empty());
        let got = runtime().block_on(aggregate(split, &context(parts, batch_rows.max(2))));
        prop_assert_eq!(got, expected);
    }
}

/// Open, high, low and close by (symbol, window start), where some trade sets them.
type Priced = BTreeMap<(String, i64), Option<[i128; 4]>>;

/// The plain way: trades that count for price set all four; those that count for range set high and low, and the ends where no other does.
fn priced(trades: &[(Trade, &str)]) -> Priced {
    let mut windows: BTreeMap<(String, i64), Vec<&(Trade, &str)>> = BTreeMap::new();
    for trade in trades {
        let start = trade.0.ts.div_euclid(60_000_000) * 60_000_000;
        windows.entry((trade.0.symbol.clone(), start)).or_default().push(trade);
    }
    let prices = |trades: Vec<&(Trade, &str)>| {
        let mut set: Vec<&(Trade, &str)> = trades.into_iter().filter(|(_, by)| *by != "volume").collect();
        set.sort_by(|(a, _), (b, _)| (a.ts, a.seq, &a.trade_id, a.price).cmp(&(b.ts, b.seq, &b.trade_id, b.price)));
        let has_price = set.iter().any(|(_, by)| *by == "price");
        let ends: Vec<i128> = set
            .iter()
            .filter(|(_, by)| *by == "price" || !has_price)
            .map(|(trade, _)| trade.price)
            .collect();
        let all = set.iter().map(|(trade, _)| trade.price);
        Some([*ends.first()?, all.clone().max()?, all.min()?, *ends.last()?])
    };
    windows.into_iter().map(|(key, trades)| (key, prices(trades))).collect()
}

/// Bars of trades that say what they count for; `None` is NULL.
async fn aggregate_priced(parts: Vec<Vec<RecordBatch>>, context: &SessionContext) -> Priced {
    use arrow::array::Array;
    let schema = parts.iter().flatten().next().unwrap().schema();
    let table = Arc::new(MemTable::try_new(schema, parts).unwrap());
    context.register_table("trades", table).unwrap();
    let sql = "SELECT symbol, date_bin(INTERVAL '1 minute', ts) AS w, \
         ohlcv(ts, seq, trade_id, price, qty, side, count, counts_for) AS bar FROM trades GROUP BY 1, 2";
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    context.deregister_table("trades").unwrap();
    let mut bars = BTreeMap::new();
    for batch in batches {
        let symbols = arrow::compute::cast(batch.column(0), &DataType::Utf8).unwrap();
        let starts = arrow::compute::cast(batch.column(1), &utc()).unwrap();
        let bar = batch.column(2).as_struct();
        for row in 0..batch.num_rows() {
            let price = |name: &str| {
                let column = bar.column_by_name(name).unwrap().as_primitive::<Decimal128Type>();
                column.is_valid(row).then(|| column.value(row))
            };
            let said = ["open", "high", "low", "close"].map(price);
            let prices = said[0].is_some().then(|| said.map(Option::unwrap));
            assert_eq!(
                said.iter().filter(|price| price.is_some()).count(),
                if prices.is_some() { 4 } else { 0 }
            );
            let start = starts.as_primitive::<TimestampMicrosecondType>().value(row);
            bars.insert((symbols.as_string::<i32>().value(row).to_owned(), start), prices);
        }
    }
    bars
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn what_a_trade_counts_for_decides_its_prices_in_any_order_and_split(
        trades in prop::collection::vec((trade(), prop::sample::select(vec!["price", "range", "volume"])), 1..80),
        shuffled in any::<prop::sample::Index>(),
        parts in 1usize..4,
        batch_rows in 1usize..40,
        runs in any::<bool>(),
    ) {
        // Values that fit, so that no bar is withheld.
        let mut trades: Vec<(Trade, &str)> = trades
            .into_iter()
            .map(|(trade, by)| (Trade { price: trade.price % 1_000_000_000_000, qty: 1 + trade.qty % 1_000_000, ..trade }, by))
            .collect();
        let expected = priced(&trades);
        let pivot = shuffled.index(trades.len());
        trades.rotate_left(pivot);
        trades[pivot..].reverse();
        if runs {
            trades.sort_by_key(|(trade, _)| (trade.symbol.clone(), trade.ts.div_euclid(60_000_000)));
        }
        let mut split = vec![Vec::new(); parts];
        for (at, rows) in trades.chunks(batch_rows).enumerate() {
            let (rows, by): (Vec<Trade>, Vec<&str>) = rows.iter().cloned().unzip();
            let rows = batch(&rows);
            let mut fields = rows.schema().fields().to_vec();
            fields.push(Arc::new(Field::new("counts_for", DataType::Utf8, true)));
            // NULL says the same as 'price'.
            let by: StringArray = by.into_iter().enumerate().map(|(row, by)| (by != "price" || row % 2 == 0).then_some(by)).collect();
            let mut columns = rows.columns().to_vec();
            columns.push(Arc::new(by));
            split[at % parts].push(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap());
        }
        split.retain(|part| !part.is_empty());
        let got = runtime().block_on(aggregate_priced(split, &context(parts, batch_rows.max(2))));
        prop_assert_eq!(got, expected);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn one(symbol: &str, ts: i64, seq: i64, price: i128, qty: i128) -> Trade {
    Trade {
        symbol: symbol.to_owned(),
        ts,
        seq,
        trade_id: seq.to_string(),
        price,
        qty,
        side: Some("buy".to_owned()),
        count: 1,
    }
}

#[test]
fn a_bar_that_does_not_fit_is_null_and_its_neighbours_stand() {
    let widest = 9_999_999_999_999_999_999_999_999_999i128;
    let mut trades = vec![
        one("PRODUCT", 0, 1, widest, widest),
        one("SUM", 0, 1, 9_000_000_000_000_000_000, 6_000_000_000_000_000_000),
        one("SUM", 1, 2, 9_000_000_000_000_000_000, 6_000_000_000_000_000_000),
        one("FINE", 0, 1, 5_000_000_000_000, 10_000_000_000),
    ];
    // Sixteen products of 126 bits in one run: their sum goes round 128 bits to something small.
    trades.extend((0..16).map(|n| one("RUN", n, n, i128::from(i64::MAX), i128::from(i64::MAX))));
    let bars = runtime().block_on(aggregate(vec![vec![batch(&trades)]], &context(2, 8192)));
    assert_eq!(bars, naive(&trades));
    assert_eq!(bars[&("PRODUCT".to_owned(), 0)], None);
    assert_eq!(bars[&("SUM".to_owned(), 0)], None, "1.08e38 has 39 digits");
    assert_eq!(
        bars[&("FINE".to_owned(), 0)].as_ref().map(|bar| bar.vwap),
        Some(Some(5_000_000_000_000))
    );
}

#[test]
fn bars_spilled_to_disk_are_the_same_bars() {
    let trades: Vec<Trade> = (0..60_000i64)
        .map(|n| {
            one(
                &format!("SYMBOL-{:05}", n * 7919 % 20_000),
                n % 59_000_000,
                n,
                1_000_000 + i128::from(n % 97),
                10_000 + i128::from(n % 31),
            )
        })
        .collect();
    let runtime_env = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(6 << 20)))
        .build_arc()
        .unwrap();
    let config = SessionConfig::new().with_target_partitions(1).with_batch_size(1024);
    let context = SessionContext::new_with_config_rt(config, runtime_env);
    ticklake_engine::ohlcv::register(&mut *context.state_ref().write()).unwrap();
    let batches = trades.chunks(1024).map(batch).collect();
    let (bars, spills) = runtime().block_on(aggregate_spilling(vec![batches], &context));
    assert!(spills > 0, "the memory was enough: nothing was spilled");
    assert_eq!(bars, naive(&trades));
}

#[test]
fn without_group_by_there_is_one_bar_and_null_of_nothing() {
    let trades = vec![one("A", 5, 2, 3, 4), one("A", 1, 1, 7, 4)];
    let context = context(2, 8192);
    let bars = runtime().block_on(async {
        context.register_batch("trades", batch(&trades)).unwrap();
        let sql = "SELECT ohlcv(ts, seq, trade_id, price, qty, side, count) FROM trades WHERE seq > ";
        let all = context.sql(&format!("{sql} 0")).await.unwrap().collect().await.unwrap();
        let none = context.sql(&format!("{sql} 5")).await.unwrap().collect().await.unwrap();
        [all, none].map(|batches| folded(batches[0].column(0).as_struct(), 0))
    });
    assert_eq!(bars[0].as_ref().map(|bar| (bar.open, bar.close)), Some((7, 3)));
    assert_eq!(bars[1], None);
}

#[test]
fn a_cast_that_could_round_is_refused() {
    let context = context(1, 8192);
    let error = runtime().block_on(async {
        context
            .register_batch("trades", batch(&[one("A", 0, 1, 1, 1)]))
            .unwrap();
        let sql = "SELECT ohlcv(ts, seq, trade_id, CAST(price AS DOUBLE), qty, side, count) FROM trades";
        context
            .sql(sql)
            .await
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    });
    assert!(error.contains("ohlcv cannot take Float64 as price"), "{error}");
}

#[test]
fn a_trade_that_counts_for_nothing_known_is_an_error() {
    let context = context(1, 8192);
    let error = runtime().block_on(async {
        context
            .register_batch("trades", batch(&[one("A", 0, 1, 1, 1)]))
            .unwrap();
        let sql = "SELECT ohlcv(ts, seq, trade_id, price, qty, side, count, symbol) FROM trades";
        context.sql(sql).await.unwrap().collect().await.unwrap_err().to_string()
    });
    assert!(
        error.contains("counts for 'price', 'range' or 'volume', not for 'A'"),
        "{error}"
    );
}

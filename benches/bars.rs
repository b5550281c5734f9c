//! One-minute bars over 20,000,000 silver trades of 50 symbols, exact and tie-broken, with the gold model as it stands; one JSON line a figure.
//!
//! `cargo bench --workspace --bench bars`; TICKLAKE_BENCH_ROWS (20,000,000), TICKLAKE_BENCH_DIR (kept between runs), TICKLAKE_BENCH_RUNS (9).
//! Leaves the data files and the bars where `benches/peers/bars.py DIR` finds them, which has peers compute and compare the same bars:
//! TICKLAKE_BENCH_PYTHON names a Python with `benches/peers/requirements.txt` that runs it at once, after ours and with as many runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::{ScalarValue, ToDFSchema};
use datafusion::datasource::ViewTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use parquet::arrow::ArrowWriter;
use ticklake_engine::gold::{Gold, GoldOptions};
use ticklake_engine::scan::{DataFile, OrderedScan, session};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, Table, TableName, models};

use figures::{lake, setting};

mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SYMBOLS: u64 = 50;
const DAY_US: i64 = 86_400_000_000;
/// 2026-01-05T00:00:00Z.
const START_US: i64 = 1_767_571_200_000_000;
/// Files of a compacted date: each a stretch of the day with all symbols, sorted as silver sorts.
const FILES: u64 = 10;
const THREADS: usize = 2;
const LIVE_TRADES: u64 = 10_000;
const LIVE_SECONDS: u64 = 120;

fn main() {
    let rows = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let runs = setting("TICKLAKE_BENCH_RUNS", 9);
    let dir = figures::folder().join(format!("bars-{rows}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench(&dir, rows, runs));
}

async fn bench(dir: &Path, rows: u64, runs: u64) {
    let silver = silver(dir, rows).await;
    let adds = silver.files(None).await.unwrap().1;
    let bytes: i64 = adds.iter().map(|add| add.size).sum();
    let files: Vec<Arc<DataFile>> = adds
        .into_iter()
        .map(|add| Arc::new(DataFile::new(add, silver.spec())))
        .collect();
    let mut seconds = Vec::new();
    let mut bars = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        bars = compute(&silver, &files).await;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let count: usize = bars.iter().map(RecordBatch::num_rows).sum();
    figure("bars_1m", rows, count, &mut seconds, bytes);
    write_bars(&dir.join("bars.parquet"), &bars);
    peers(dir, runs);

    let mut seconds = Vec::new();
    for _ in 0..runs {
        let started = Instant::now();
        read_columns(&silver, &files).await;
        seconds.push(started.elapsed().as_secs_f64());
    }
    figure("read_columns_alone", rows, 0, &mut seconds, bytes);

    let live = dir.join("live");
    let _ = std::fs::remove_dir_all(&live);
    figures::link(&dir.join("silver"), &live.join("silver"));
    let options = GoldOptions {
        target_partitions: THREADS,
        ..GoldOptions::default()
    };
    let mut gold = Gold::open(lake(&live, Durability::Os), options).await.unwrap();
    let started = Instant::now();
    let report = gold.refresh().await.unwrap();
    figure(
        "gold_from_nothing",
        rows,
        report.rows_out as usize,
        &mut [started.elapsed().as_secs_f64()],
        bytes,
    );
    follow(&live, gold, rows).await;
}

/// Ten thousand new trades a second, one commit of silver each, for two minutes of the same date: how long gold takes for each.
async fn follow(dir: &Path, mut gold: Gold, rows: u64) {
    let silver = lake(dir, Durability::Os)
        .table(&TableName::silver_trades())
        .await
        .unwrap();
    let mut committer = Committer::open(&silver).await.unwrap();
    let mut market = Market::new(LIVE_TRADES * FILES);
    market.seq = vec![i64::from(u32::MAX); SYMBOLS as usize];
    let mut seconds = Vec::new();
    for second in 0..LIVE_SECONDS {
        let from = START_US + DAY_US - 300_000_000 + second as i64 * 1_000_000;
        let batch = market.trades(&silver, from, 1_000_000, LIVE_TRADES);
        let partition = BTreeMap::from([("date".to_owned(), "2026-01-05".to_owned())]);
        let add = data_file::write(&silver, partition, vec![batch], FileOptions::default())
            .await
            .unwrap();
        let info = serde_json::Map::from_iter([(
            "watermarks".to_owned(),
            serde_json::json!({ "sim": START_US + DAY_US - 1 }),
        )]);
        committer
            .commit(Commit {
                operation: "REFRESH".into(),
                info,
                adds: vec![add],
                ..Commit::default()
            })
            .await
            .unwrap();
        let started = Instant::now();
        gold.refresh().await.unwrap();
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| (seconds[((seconds.len() - 1) as f64 * share) as usize] * 1e4).round() / 1e4;
    let line = serde_json::json!({
        "bench": "bars", "figure": "gold_follows_10000_trades_a_second", "engine": "ticklake", "rows_on_the_date": rows, "refreshes": seconds.len(),
        "median_s": at(0.5), "p99_s": at(0.99), "worst_s": at(1.0),
    });
    figures::print(line);
}

/// The same bars by others, bar for bar or this fails.
fn peers(dir: &Path, runs: u64) {
    if let Ok(python) = std::env::var("TICKLAKE_BENCH_PYTHON") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/bars.py");
        let mut command = Command::new(python);
        let status = command.arg(script).arg(dir).arg(runs.to_string()).status().unwrap();
        assert!(
            status.success(),
            "the peers' bars differ, or one could not run: {status}"
        );
    }
}

fn figure(name: &str, rows: u64, bars: usize, seconds: &mut [f64], bytes: i64) {
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let line = serde_json::json!({
        "bench": "bars", "figure": name, "engine": "ticklake", "rows": rows, "bars": bars, "threads": THREADS, "runs": seconds.len(),
        "median_s": (median * 1e4).round() / 1e4, "best_s": (seconds[0] * 1e4).round() / 1e4, "rows_per_s": (rows as f64 / median).round(), "bytes": bytes,
    });
    figures::print(line);
}

/// The gold model over all files, with nothing amended: what a refresh of the whole day runs.
async fn compute(silver: &Table, files: &[Arc<DataFile>]) -> Vec<RecordBatch> {
    let context = session::session(Arc::new(RuntimeEnv::default()), session::config(THREADS), &[silver]).unwrap();
    let scan = OrderedScan::new(silver.clone(), files.to_vec()).unwrap();
    let schema = datafusion::catalog::TableProvider::schema(&scan);
    let tables = Arc::new(MemorySchemaProvider::new());
    tables.register_table("trades".into(), Arc::new(scan)).unwrap();
    let none = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: schema.to_dfschema_ref().unwrap(),
    });
    tables
        .register_table("amendments".into(), Arc::new(ViewTable::new(none, None)))
        .unwrap();
    context
        .catalog("datafusion")
        .unwrap()
        .register_schema("silver", tables)
        .unwrap();
    let utc = |micros: i64| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
    let parameters = vec![
        ("interval", ScalarValue::from("60 seconds")),
        ("kind", ScalarValue::from("trade")),
        ("from", utc(START_US)),
        ("until", utc(START_US + DAY_US)),
    ];
    let frame = context
        .sql(models::OHLCV)
        .await
        .unwrap()
        .with_param_values(parameters)
        .unwrap();
    if std::env::var("TICKLAKE_BENCH_EXPLAIN").is_ok() {
        println!(
            "{}",
            frame.clone().explain(false, false).unwrap().to_string().await.unwrap()
        );
    }
    frame.collect().await.unwrap()
}

/// The floor: the columns that the bars need, read and dropped.
async fn read_columns(silver: &Table, files: &[Arc<DataFile>]) {
    use futures::StreamExt;
    let context = session::session(Arc::new(RuntimeEnv::default()), session::config(THREADS), &[silver]).unwrap();
    let scan = OrderedScan::new(silver.clone(), files.to_vec()).unwrap();
    let frame = context.read_table(Arc::new(scan)).unwrap();
    let columns = frame
        .select_columns(&[
            "venue", "symbol", "ts", "seq", "trade_id", "price", "qty", "side", "count",
        ])
        .unwrap();
    let plan = columns.create_physical_plan().await.unwrap();
    let tasks = (0..plan.properties().partitioning.partition_count()).map(|partition| {
        let mut stream = plan.execute(partition, context.task_ctx()).unwrap();
        tokio::spawn(async move { while stream.next().await.transpose().unwrap().is_some() {} })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Silver of one day, made once.
async fn silver(dir: &Path, rows: u64) -> Table {
    let done = dir.join("complete");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir_all(dir).unwrap();
        let table = lake(dir, Durability::Os)
            .create_table(&TableName::silver_trades())
            .await
            .unwrap();
        let mut market = Market::new(rows);
        let mut adds = Vec::new();
        for file in 0..FILES {
            let batch = market.batch(&table, file);
            let partition = BTreeMap::from([("date".to_owned(), "2026-01-05".to_owned())]);
            adds.push(
                data_file::write(&table, partition, vec![batch], FileOptions::default())
                    .await
                    .unwrap(),
            );
        }
        let mut committer = Committer::open(&table).await.unwrap();
        let info = serde_json::Map::from_iter([(
            "watermarks".to_owned(),
            serde_json::json!({ "sim": START_US + DAY_US - 1 }),
        )]);
        committer
            .commit(Commit {
                operation: "REFRESH".into(),
                info,
                adds,
                ..Commit::default()
            })
            .await
            .unwrap();
        std::fs::write(done, "").unwrap();
    }
    lake(dir, Durability::Os)
        .table(&TableName::silver_trades())
        .await
        .unwrap()
}

/// Fifty random walks of different rate, price and volatility. Two thirds of the trades share their timestamp with a neighbour.
struct Market {
    random: u64,
    rows: u64,
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
    fn new(rows: u64) -> Self {
        let price = (0..SYMBOLS)
            .map(|symbol| 10i64.pow(11 + (symbol % 6) as u32) * (1 + symbol as i64 % 9))
            .collect();
        Self {
            random: 42,
            rows,
            seq: vec![0; SYMBOLS as usize],
            price,
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

    fn batch(&mut self, table: &Table, file: u64) -> RecordBatch {
        let width = DAY_US / FILES as i64;
        self.trades(table, START_US + width * file as i64, width, self.rows / FILES)
    }

    fn trades(&mut self, table: &Table, from: i64, width: i64, count: u64) -> RecordBatch {
        let mut rows: Vec<Row> = Vec::with_capacity(count as usize);
        let mut ts = from;
        for n in 0..count {
            if self.next().is_multiple_of(3) {
                ts = from + (i128::from(width) * i128::from(n) / i128::from(count)) as i64;
            }
            // The lower the number, the busier the symbol.
            let symbol = (self.next() % SYMBOLS).min(self.next() % SYMBOLS);
            let at = symbol as usize;
            let tick = (self.price[at] / 50_000).max(10_000) / 10_000 * 10_000;
            self.price[at] = (self.price[at] + (self.next() % 5) as i64 * tick - 2 * tick).max(tick);
            self.seq[at] += 1;
            let qty = i128::from(self.next() % 1_000_000 + 1) * 1_000;
            rows.push(Row {
                symbol,
                ts,
                seq: self.seq[at],
                price: i128::from(self.price[at]),
                qty,
                buy: self.next().is_multiple_of(2),
            });
        }
        rows.sort_by_key(|row| (symbol_name(row.symbol), row.ts, row.seq));
        encode(table, &rows)
    }
}

fn symbol_name(symbol: u64) -> String {
    format!("COIN{symbol:02}-USDT")
}

fn encode(table: &Table, rows: &[Row]) -> RecordBatch {
    let all = |text: &str| -> ArrayRef { Arc::new(rows.iter().map(|_| Some(text)).collect::<StringArray>()) };
    let schema = table.spec().file_schema();
    let longs = |value: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int64Array>())
    };
    let decimals = |value: &dyn Fn(&Row) -> i128, data_type| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(value(row)))
                .collect::<Decimal128Array>()
                .with_data_type(data_type),
        )
    };
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        match field.name().as_str() {
            "venue" => all("sim"),
            "kind" => all("trade"),
            "source" => all("sim"),
            "origin" => all("kafka"),
            "topic" => all("trades"),
            "symbol" => Arc::new(
                rows.iter()
                    .map(|row| Some(symbol_name(row.symbol)))
                    .collect::<StringArray>(),
            ),
            "trade_id" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.seq.to_string()))
                    .collect::<StringArray>(),
            ),
            "side" => Arc::new(
                rows.iter()
                    .map(|row| Some(if row.buy { "buy" } else { "sell" }))
                    .collect::<StringArray>(),
            ),
            "seq" | "offset" => longs(&|row| row.seq),
            "count" => longs(&|_| 1),
            "ts" | "received_at" | "ingested_at" => Arc::new(
                rows.iter()
                    .map(|row| Some(row.ts))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
            "price" => decimals(&|row| row.price, field.data_type().clone()),
            "qty" => decimals(&|row| row.qty, field.data_type().clone()),
            "quote_qty" => decimals(&|row| row.price * row.qty, field.data_type().clone()),
            "partition" => Arc::new(
                rows.iter()
                    .map(|row| Some((row.symbol % 10) as i32))
                    .collect::<Int32Array>(),
            ),
            _ => new_null_array(field.data_type(), rows.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

/// The bars, for the peers to be compared with.
fn write_bars(path: &Path, bars: &[RecordBatch]) {
    let schema = bars[0].schema();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), schema, None).unwrap();
    bars.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

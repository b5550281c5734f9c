//! Figures of the Flight SQL server, client and server on the same two cores, one JSON line each:
//! a scan of silver rows, all columns, from zstd Parquet; and the latest bar of one symbol, prepared: searched, and from `gold.latest`.
//!
//! `cargo bench --workspace --bench flight_sql`; TICKLAKE_BENCH_ROWS (10,000,000) and TICKLAKE_BENCH_DIR (kept between runs).
//! Client and server share one process, which another one has made the tables for. Its peak memory begins anew at every scan: the peak of a
//! tenth of the rows beside that of all of them shows whether memory is flat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use ticklake_flight_server::{ServerOptions, serve};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, Lake, TableName};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use figures::{peak_rss_mb, reset_peak, rss_mb, setting};

mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Client = FlightSqlServiceClient<Channel>;

const SYMBOLS: i64 = 50;
const DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
const FILE_ROWS: i64 = 1_000_000;
const LATEST_RUNS: usize = 300;
/// Closed loop: each asks again once it has its answer.
const CONNECTIONS: usize = 16;
const KEPT: &str = "SELECT * FROM gold.latest WHERE venue = ? AND symbol = ?";

#[tokio::main]
async fn main() {
    let rows: i64 = setting("TICKLAKE_BENCH_ROWS", 10_000_000);
    let dir = figures::folder().join(format!("flight-{rows}"));
    let lake = figures::lake(&dir, Durability::Os);
    if std::env::args().any(|argument| argument == "--fill") {
        fill(&lake, rows).await;
        return;
    }
    if !dir.join("made").exists() {
        let _none = std::fs::remove_dir_all(&dir);
        let mut child = Command::new(std::env::current_exe().unwrap());
        assert!(child.arg("--fill").status().unwrap().success());
        std::fs::write(dir.join("made"), "").unwrap();
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(
        listener,
        lake,
        ServerOptions::default(),
        Arc::default(),
        shutdown.clone(),
    ));
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .unwrap()
        .tcp_nodelay(true)
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(32 << 20);
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());

    let (all, tenth) = ("SELECT * FROM silver.trades", rows / 10);
    let limited = format!("{all} LIMIT {tenth}");
    scan(&mut client, tenth, &limited, "scan a tenth of silver, all columns").await;
    for _ in 0..3 {
        scan(&mut client, rows, all, "scan silver, all columns").await;
    }
    let thirteen = "SELECT venue, symbol, kind, trade_id, seq, ts, price, qty, quote_qty, side, received_at, source, date FROM silver.trades";
    for _ in 0..3 {
        scan(&mut client, rows, thirteen, "scan silver, 13 columns").await;
    }
    let searched = |table: &str| {
        format!("SELECT * FROM {table} WHERE venue = ? AND symbol = ? ORDER BY window_start DESC LIMIT 1")
    };
    latest(
        &mut client,
        &searched("gold.ohlcv_1m"),
        "latest bar, prepared, a file a day",
    )
    .await;
    latest(
        &mut client,
        &searched("gold.ohlcv_5m"),
        "latest bar, prepared, a file an hour",
    )
    .await;
    latest(&mut client, KEPT, "gold.latest, prepared").await;
    let others = (0..CONNECTIONS).map(|_| endpoint.connect());
    let others = futures::future::try_join_all(others).await.unwrap();
    let runs = others
        .into_iter()
        .map(|channel| tokio::spawn(latest_times(FlightSqlServiceClient::new(channel), KEPT.to_owned())));
    let times = futures::future::try_join_all(runs)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, times)| times);
    tell(
        times.flatten().collect(),
        "gold.latest, prepared, 16 connections at once",
    );
    shutdown.cancel();
    server.await.unwrap().unwrap();
}

async fn scan(client: &mut Client, rows: i64, sql: &str, figure: &str) {
    let before_mb = rss_mb(std::process::id());
    reset_peak();
    let started = Instant::now();
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let (mut found, mut bytes, mut first) = (0, 0, None);
    while let Some(batch) = stream.try_next().await.unwrap() {
        first.get_or_insert_with(|| started.elapsed());
        found += batch.num_rows() as i64;
        bytes += batch
            .columns()
            .iter()
            .map(|c| c.to_data().get_slice_memory_size().unwrap())
            .sum::<usize>();
    }
    let elapsed = started.elapsed();
    assert_eq!(found, rows);
    let figures = serde_json::json!({
        "bench": "flight_sql", "figure": figure, "rows": rows, "seconds": elapsed.as_secs_f64(),
        "rows_per_s": (rows as f64 / elapsed.as_secs_f64()) as u64,
        "mb_per_s": (bytes as f64 / 1e6 / elapsed.as_secs_f64()) as u64,
        "first_batch_ms": first.map(|d: Duration| d.as_secs_f64() * 1e3), "rss_mb_before": before_mb, "peak_rss_mb": peak_rss_mb(std::process::id()),
    });
    figures::print(figures);
}

async fn latest(client: &mut Client, sql: &str, figure: &str) {
    let (_, times) = latest_times(client.clone(), sql.to_owned()).await;
    tell(times, figure);
}

/// Both calls of each execution: GetFlightInfo and DoGet, and the values bound anew before.
async fn latest_times(mut client: Client, sql: String) -> (Client, Vec<Duration>) {
    let mut statement = client.prepare(sql, None).await.unwrap();
    let mut times = Vec::with_capacity(LATEST_RUNS);
    for i in 0..LATEST_RUNS {
        let text = |v: String| -> ArrayRef { Arc::new(StringArray::from(vec![v])) };
        let symbol = format!("S{:02}-USDT", i as i64 % SYMBOLS);
        let values = RecordBatch::try_from_iter([("0", text("sim".into())), ("1", text(symbol))]).unwrap();
        let started = Instant::now();
        statement.set_parameters(values).unwrap();
        let info = statement.execute().await.unwrap();
        let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        times.push(started.elapsed());
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    }
    (client, times)
}

fn tell(mut times: Vec<Duration>, figure: &str) {
    times.sort();
    let (runs, ms) = (times.len(), |at: usize| times[at].as_secs_f64() * 1e3);
    let figures = serde_json::json!({
        "bench": "flight_sql", "figure": figure, "runs": runs,
        "p50_ms": ms(runs / 2), "p99_ms": ms(runs * 99 / 100), "max_ms": ms(runs - 1),
    });
    figures::print(figures);
}

/// Silver in files of a million rows sorted by symbol and time; a month of bars, in a file a day and in a file an hour.
async fn fill(lake: &Lake, rows: i64) {
    let mut from = 0;
    while from < rows {
        let to = (from + FILE_ROWS).min(rows);
        add(
            lake,
            &TableName::silver_trades(),
            0,
            &mut |i| (i * SYMBOLS / FILE_ROWS, i * 1_000),
            0..to - from,
            from,
        )
        .await;
        from = to;
    }
    for day in 0..DAYS {
        // Sorted by symbol, then window: 1,440 minutes of each symbol.
        let by_day = &mut |i| (i / 1_440, day * DAY_US + i % 1_440 * 60_000_000);
        add(lake, &TableName::gold_ohlcv("1m"), day, by_day, 0..SYMBOLS * 1_440, 0).await;
        for hour in 0..24 {
            let by_hour = &mut |i| (i / 12, day * DAY_US + hour * 3_600_000_000 + i % 12 * 300_000_000);
            add(lake, &TableName::gold_ohlcv("5m"), day, by_hour, 0..SYMBOLS * 12, 0).await;
        }
    }
}

/// One file of one partition: row `i` is of the symbol and at the offset that `place` says.
async fn add(
    lake: &Lake,
    name: &TableName,
    day: i64,
    place: &mut dyn FnMut(i64) -> (i64, i64),
    range: std::ops::Range<i64>,
    id_from: i64,
) {
    let table = lake.create_table(name).await.unwrap();
    let places: Vec<_> = range.map(|i| (i + id_from, place(i))).collect();
    let batches = places
        .chunks(65_536)
        .map(|chunk| batch(&table.spec().file_schema(), chunk))
        .collect();
    let date = chrono::DateTime::from_timestamp_micros(START_US + day * DAY_US).unwrap();
    let partition = BTreeMap::from([("date".to_owned(), date.format("%Y-%m-%d").to_string())]);
    let add = data_file::write(&table, partition, batches, FileOptions::default())
        .await
        .unwrap();
    let mut committer = Committer::open(&table).await.unwrap();
    committer
        .commit(Commit {
            operation: "WRITE".into(),
            adds: vec![add],
            ..Default::default()
        })
        .await
        .unwrap();
}

fn batch(schema: &SchemaRef, rows: &[(i64, (i64, i64))]) -> RecordBatch {
    let random = |i: i64, salt: i64| ((i ^ salt).wrapping_mul(6_364_136_223_846_793_005) >> 33) & 0xffff;
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match (field.name().as_str(), field.data_type()) {
                ("symbol", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(_, (s, _))| format!("S{s:02}-USDT")),
                )),
                ("venue", _) => Arc::new(StringArray::from(vec!["sim"; rows.len()])),
                ("side", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter()
                        .map(|(i, _)| if random(*i, 3) % 2 == 0 { "buy" } else { "sell" }),
                )),
                ("trade_id", _) => Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(i, _)| format!("{}", 4_839_201_000 + i)),
                )),
                ("kind", _) => Arc::new(StringArray::from(vec!["trade"; rows.len()])),
                ("source", _) => Arc::new(StringArray::from(vec!["live"; rows.len()])),
                ("origin", _) => Arc::new(StringArray::from(vec!["kafka"; rows.len()])),
                ("topic", _) => Arc::new(StringArray::from(vec!["trades"; rows.len()])),
                ("ref_trade_id" | "first_id" | "last_id" | "conditions", data_type) => {
                    new_null_array(data_type, rows.len())
                }
                (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(rows.iter().map(|(i, _)| *i))),
                (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values(
                    rows.iter().map(|(i, _)| (random(*i, 5) % 10) as i32),
                )),
                (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![true; rows.len()])),
                (_, DataType::Timestamp(_, _)) => {
                    let ts = rows.iter().map(|(_, (_, offset))| START_US + offset);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC"))
                }
                (_, DataType::Decimal128(p, s)) => {
                    let one = 10i128.pow(*s as u32 - 4);
                    let values = rows.iter().map(|(i, _)| i128::from(640_000_000 + random(*i, 7)) * one);
                    Arc::new(
                        Decimal128Array::from_iter_values(values)
                            .with_precision_and_scale(*p, *s)
                            .unwrap(),
                    )
                }
                (name, other) => panic!("{name} {other}"),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

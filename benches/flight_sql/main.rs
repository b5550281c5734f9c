//! Figures of the Flight SQL server, client and server on the same two cores, one JSON line each:
//! a scan of silver rows, all columns, from zstd Parquet; rows that are made in memory, beside arrow-flight alone; a month of one symbol's
//! bars; and the latest bar of one symbol, prepared: searched, and from `gold.latest`.
//!
//! `cargo bench --workspace --bench flight_sql`; TICKLAKE_BENCH_ROWS (10,000,000), TICKLAKE_BENCH_DIR (kept between runs), and
//! TICKLAKE_BENCH_PYTHON (one with `benches/peers/requirements.txt`) for Arrow's C++ server.
//! Client and server share one process, which another one has made the tables for. Its peak memory begins anew at every scan: the peak of a
//! tenth of the rows beside that of all of them shows whether memory is flat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::*;
use futures::TryStreamExt;
use ticklake_flight_server::{ServerOptions, serve};
use ticklake_sql::Durability;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use figures::{peak_rss_mb, reset_peak, rss_mb, setting};
use tables::{DAYS, SYMBOLS, fill};

mod cpp;
#[path = "../figures/mod.rs"]
mod figures;
mod raw;
mod tables;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Client = FlightSqlServiceClient<Channel>;

const LATEST_RUNS: usize = 300;
const MONTH_RUNS: usize = 100;
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
    let endpoint = endpoint(addr);
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
    memory(&mut client, rows).await;
    month(&mut client).await;
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
    let runs = others.into_iter().map(|channel| {
        tokio::spawn(prepared_times(
            FlightSqlServiceClient::new(channel),
            KEPT.to_owned(),
            1,
            LATEST_RUNS,
        ))
    });
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

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{addr}"))
        .unwrap()
        .tcp_nodelay(true)
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(32 << 20)
}

/// What the path through the server costs beside arrow-flight alone, when the batches cost nothing: numbers of a series, 13 columns of them,
/// against the same batches sent from memory.
async fn memory(client: &mut Client, rows: i64) {
    let columns: Vec<_> = (0..13).map(|i| format!("value AS c{i}")).collect();
    let series = |rows: i64| format!("SELECT {} FROM generate_series(1, {rows})", columns.join(", "));
    // A fifth of them, sent five times: the peer's memory is not what is measured.
    let batches = collect(client, &series(rows / 5)).await;
    let (addr, shutdown) = raw::serve(batches, 5).await;
    let mut peer = FlightSqlServiceClient::new(endpoint(addr).connect().await.unwrap());
    for _ in 0..3 {
        scan(client, rows, &series(rows), "13 columns made in memory").await;
        scan(
            &mut peer,
            rows / 5 * 5,
            "",
            "13 columns from memory, arrow-flight alone",
        )
        .await;
    }
    shutdown.cancel();
    if let Some(cpp) = cpp::serve(rows / 5, 5) {
        let mut peer = FlightSqlServiceClient::new(endpoint(cpp.addr).connect().await.unwrap());
        for _ in 0..3 {
            scan(
                &mut peer,
                rows / 5 * 5,
                "",
                "13 columns from memory, Arrow's C++ server",
            )
            .await;
        }
    }
}

/// A month of one symbol's bars, six columns of 30 files, as a chart asks for them.
async fn month(client: &mut Client) {
    let sql = "SELECT window_start, open, high, low, close, volume FROM gold.ohlcv_1m WHERE venue = ? AND symbol = ? ORDER BY window_start";
    let bars = DAYS as usize * 1_440;
    let (_, times) = prepared_times(client.clone(), sql.to_owned(), bars, MONTH_RUNS).await;
    tell(times, "a month of 1m bars, prepared, a file a day");
}

async fn collect(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.try_collect().await.unwrap()
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
    let (_, times) = prepared_times(client.clone(), sql.to_owned(), 1, LATEST_RUNS).await;
    tell(times, figure);
}

/// Both calls of each execution: GetFlightInfo and DoGet, and the values bound anew before.
async fn prepared_times(mut client: Client, sql: String, rows: usize, runs: usize) -> (Client, Vec<Duration>) {
    let mut statement = client.prepare(sql, None).await.unwrap();
    let mut times = Vec::with_capacity(runs);
    for i in 0..runs {
        let text = |v: String| -> ArrayRef { Arc::new(StringArray::from(vec![v])) };
        let symbol = format!("S{:02}-USDT", i as i64 % SYMBOLS);
        let values = RecordBatch::try_from_iter([("0", text("sim".into())), ("1", text(symbol))]).unwrap();
        let started = Instant::now();
        statement.set_parameters(values).unwrap();
        let info = statement.execute().await.unwrap();
        let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        times.push(started.elapsed());
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), rows);
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

//! A floor of dashboards: connections of several users, each running a dashboard's queries again and again, against a server of its own process with
//! the shipped defaults; then the same at ten times the load, where only `Unavailable` may be answered.
//!
//! `cargo bench --workspace --bench dashboards`; TICKLAKE_BENCH_CONNECTIONS (200), TICKLAKE_BENCH_USERS (10), TICKLAKE_BENCH_EVERY_S (60),
//! TICKLAKE_BENCH_SECONDS (600), TICKLAKE_BENCH_LOADS ("1,10", factors of the load), TICKLAKE_BENCH_DIR. One JSON line a load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::array::*;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use futures::future::join_all;
use ticklake_flight_server::{ServerOptions, UsersFile, serve};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, Lake, TableName};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use figures::{lake, peak_rss_mb, quantile, setting};

mod figures;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SYMBOLS: i64 = 50;
const DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;
const PASSWORD: &str = "correct horse battery";

/// What one dashboard shows: the last prices, a candle chart of a day, volume in five minutes, a month by day, and the most traded.
const QUERIES: [&str; 5] = [
    "SELECT symbol, last_price, window_start FROM gold.latest ORDER BY symbol",
    "SELECT window_start, open, high, low, close, volume FROM gold.ohlcv_1m WHERE symbol = '{symbol}' AND window_start >= TIMESTAMP '2026-01-30' ORDER BY window_start",
    "SELECT date_bin(INTERVAL '5 minutes', window_start, TIMESTAMP '1970-01-01') AS t, sum(volume) FROM gold.ohlcv_1m WHERE symbol = '{symbol}' AND date >= DATE '2026-01-29' GROUP BY t ORDER BY t",
    "SELECT date, max(high), min(low), sum(volume) FROM gold.ohlcv_1m WHERE symbol = '{symbol}' GROUP BY date ORDER BY date",
    "SELECT symbol, sum(quote_volume) AS traded FROM gold.ohlcv_1m WHERE date >= DATE '2026-01-30' GROUP BY symbol ORDER BY traded DESC LIMIT 10",
];

fn main() {
    let dir = figures::folder().join("dashboards");
    let argument = std::env::args().find(|argument| argument.starts_with("--only-"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match argument.as_deref() {
        Some("--only-fill") => runtime.block_on(fill(&lake(&dir.join("lake"), Durability::Os))),
        Some("--only-serve") => runtime.block_on(serve_until_killed(&dir)),
        _ => {
            if !dir.join("made").exists() {
                let _none = std::fs::remove_dir_all(&dir);
                std::fs::create_dir_all(&dir).unwrap();
                assert!(again("--only-fill").status().unwrap().success());
                std::fs::write(dir.join("made"), "").unwrap();
            }
            for load in setting("TICKLAKE_BENCH_LOADS", "1,10".to_owned()).split(',') {
                runtime.block_on(measure(load.parse().unwrap()));
            }
        }
    }
}

fn again(argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(argument);
    command
}

async fn serve_until_killed(dir: &Path) {
    let users = dir.join("users.toml");
    let _none = std::fs::remove_file(&users);
    let mut file = UsersFile::open(&users).unwrap();
    for n in 0..setting("TICKLAKE_BENCH_USERS", 10) {
        file.add(&format!("user{n}"), "reader", Some(PASSWORD)).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let options = ServerOptions {
        users_file: Some(users),
        ..Default::default()
    };
    serve(
        listener,
        lake(&dir.join("lake"), Durability::Os),
        options,
        Arc::default(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
}

/// Killed when dropped, however the bench ends.
struct Server {
    process: Child,
    addr: String,
}

impl Server {
    fn start() -> Self {
        let mut process = again("--only-serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut addr = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut addr)
            .unwrap();
        Self {
            process,
            addr: addr.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// Of one connection: seconds of each answer, and what was answered instead.
#[derive(Default)]
struct Seen {
    user: usize,
    seconds: Vec<f64>,
    errors: BTreeMap<String, u64>,
}

async fn measure(load: usize) {
    let connections = setting("TICKLAKE_BENCH_CONNECTIONS", 200) * load;
    let users: usize = setting("TICKLAKE_BENCH_USERS", 10);
    let every = Duration::from_secs(setting("TICKLAKE_BENCH_EVERY_S", 60));
    let until = Instant::now() + Duration::from_secs(setting("TICKLAKE_BENCH_SECONDS", 600));
    let server = Server::start();
    let endpoint = Endpoint::from_shared(format!("http://{}", server.addr))
        .unwrap()
        .tcp_nodelay(true);
    let bearers = join_all((0..users).map(|n| log_in(&endpoint, n))).await;
    let runs = (0..connections).map(|n| {
        let bearer = bearers[n % users].clone();
        // Spread over the interval, as people open their dashboards.
        let first = every.mul_f64(n as f64 / connections as f64);
        tokio::spawn(dashboard(endpoint.clone(), bearer, n, n % users, first, every, until))
    });
    let seen: Vec<Seen> = join_all(runs).await.into_iter().map(Result::unwrap).collect();
    let peak = peak_rss_mb(server.process.id());
    tell(load, connections, &seen, peak);
}

async fn log_in(endpoint: &Endpoint, n: usize) -> String {
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    client.handshake(&format!("user{n}"), PASSWORD).await.unwrap();
    client.token().unwrap().clone()
}

async fn dashboard(
    endpoint: Endpoint,
    bearer: String,
    n: usize,
    user: usize,
    first: Duration,
    every: Duration,
    until: Instant,
) -> Seen {
    let mut seen = Seen {
        user,
        ..Default::default()
    };
    let mut client = FlightSqlServiceClient::new(endpoint.connect().await.unwrap());
    client.set_token(bearer);
    let mut next = Instant::now() + first;
    while next < until {
        tokio::time::sleep_until(next.into()).await;
        next += every;
        for sql in QUERIES {
            let sql = sql.replace("{symbol}", &format!("S{:02}-USDT", n as i64 % SYMBOLS));
            let started = Instant::now();
            match ask(&mut client, sql).await {
                Ok(rows) => {
                    assert!(rows > 0, "a dashboard without rows");
                    seen.seconds.push(started.elapsed().as_secs_f64());
                }
                Err(error) => *seen.errors.entry(code(&error)).or_default() += 1,
            }
        }
    }
    seen
}

async fn ask(client: &mut FlightSqlServiceClient<Channel>, sql: String) -> Result<usize, FlightError> {
    let info = client.execute(sql, None).await?;
    let stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

/// arrow-flight's client turns some statuses into text.
fn code(error: &FlightError) -> String {
    match error {
        FlightError::Tonic(status) => format!("{:?}", status.code()),
        other => {
            let text = other.to_string();
            let unavailable = ["Unavailable", "currently unavailable"]
                .iter()
                .any(|part| text.contains(part));
            if unavailable { "Unavailable".to_owned() } else { text }
        }
    }
}

fn tell(load: usize, connections: usize, seen: &[Seen], peak: Option<f64>) {
    let of = |user: Option<usize>| -> Vec<f64> {
        let theirs = seen.iter().filter(|s| user.is_none_or(|user| s.user == user));
        theirs.flat_map(|s| s.seconds.iter().copied()).collect()
    };
    let users = seen.iter().map(|s| s.user).max().map_or(0, |last| last + 1);
    let p95s: Vec<f64> = (0..users)
        .filter_map(|user| quantile(&mut of(Some(user)), 0.95))
        .collect();
    let mut errors: BTreeMap<&String, u64> = BTreeMap::new();
    for (code, count) in seen.iter().flat_map(|s| &s.errors) {
        *errors.entry(code).or_default() += count;
    }
    let all = &mut of(None);
    figures::print(serde_json::json!({
        "bench": "dashboards", "load": load, "connections": connections, "answers": all.len(), "errors": errors,
        "p50_s": quantile(all, 0.5), "p95_s": quantile(all, 0.95), "p99_s": quantile(all, 0.99), "max_s": quantile(all, 1.0),
        "least_user_p95_s": p95s.iter().copied().fold(f64::INFINITY, f64::min),
        "most_user_p95_s": p95s.iter().copied().fold(0.0, f64::max),
        "server_peak_rss_mb": peak,
    }));
}

/// A month of one-minute bars, a file an hour as gold is kept.
async fn fill(lake: &Lake) {
    let table = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    let mut committer = Committer::open(&table).await.unwrap();
    for hour in 0..DAYS * 24 {
        let rows = (0..SYMBOLS * 60)
            .map(|i| (i / 60, hour * 3_600_000_000 + i % 60 * 60_000_000))
            .collect::<Vec<_>>();
        let date = chrono::DateTime::from_timestamp_micros(START_US + hour / 24 * DAY_US).unwrap();
        let partition = BTreeMap::from([("date".to_owned(), date.format("%Y-%m-%d").to_string())]);
        let batch = batch(&table.spec().file_schema(), &rows);
        let add = data_file::write(&table, partition, vec![batch], FileOptions::default())
            .await
            .unwrap();
        let commit = Commit {
            operation: "WRITE".into(),
            adds: vec![add],
            ..Default::default()
        };
        committer.commit(commit).await.unwrap();
    }
}

/// Row: symbol, and microseconds after the start.
fn batch(schema: &SchemaRef, rows: &[(i64, i64)]) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let numbers = || {
            rows.iter()
                .map(|(symbol, us)| (symbol * 7_919 + us / 60_000_000 * 104_729) % 10_007)
        };
        match (field.name().as_str(), field.data_type()) {
            ("symbol", _) => Arc::new(StringArray::from_iter_values(
                rows.iter().map(|(s, _)| format!("S{s:02}-USDT")),
            )),
            ("venue", _) => Arc::new(StringArray::from(vec!["sim"; rows.len()])),
            (_, DataType::Int64) => Arc::new(Int64Array::from_iter_values(numbers())),
            (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values(numbers().map(|n| n as i32))),
            (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![true; rows.len()])),
            (_, DataType::Timestamp(_, _)) => {
                let times = rows.iter().map(|(_, us)| START_US + us);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            (_, DataType::Decimal128(p, s)) => {
                let one = 10i128.pow(*s as u32 - 2);
                let values = Decimal128Array::from_iter_values(numbers().map(|n| i128::from(n + 1) * one));
                Arc::new(values.with_precision_and_scale(*p, *s).unwrap())
            }
            (name, other) => panic!("{name} {other}"),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

//! Two clients that ask without end, and what they saw when.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_flight::sql::client::{FlightSqlServiceClient, PreparedStatement};
use futures::TryStreamExt;
use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const BRONZE: &str = include_str!("bronze.sql");
const GOLD: &str = include_str!("gold.sql");
pub const MINUTE_US: i64 = 60_000_000;
/// A table that is not there yet is asked for again; anything else that goes wrong for so long is an error.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct SeenTrade {
    pub partition: i32,
    pub offset: i64,
    pub symbol: Arc<str>,
    pub ts_us: i64,
    pub seq: i64,
    pub received_at_us: i64,
    pub seen_us: i64,
}

/// From `seen_us` on the bar holds every trade up to `last_seq`.
pub struct SeenBar {
    pub symbol: Arc<str>,
    pub window_us: i64,
    pub last_seq: i64,
    pub seen_us: i64,
}

/// What one client saw, and how long each of its queries took.
pub struct Probe<T> {
    pub seen: Vec<T>,
    pub query_ms: Vec<f64>,
}

pub struct Connection(FlightSqlServiceClient<Channel>);

impl Connection {
    pub async fn open(server: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .unwrap()
            .tcp_nodelay(true);
        Self(FlightSqlServiceClient::new(endpoint.connect().await.unwrap()))
    }

    async fn prepare(&mut self, sql: &str, clock: &Clock) -> PreparedStatement<Channel> {
        let began = clock.now();
        loop {
            match self.0.prepare(sql.to_owned(), None).await {
                Ok(statement) => return statement,
                Err(error) => {
                    let waited = (clock.now() - began).to_std().unwrap_or_default();
                    assert!(waited < PATIENCE, "{error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// One query with one time bound, answered whole.
    async fn ask(&mut self, statement: &mut PreparedStatement<Channel>, from_us: i64) -> Vec<RecordBatch> {
        let bound = TimestampMicrosecondArray::from(vec![from_us]).with_timezone("UTC");
        let bound = RecordBatch::try_from_iter([("0", Arc::new(bound) as Arc<dyn Array>)]).unwrap();
        statement.set_parameters(bound).unwrap();
        let info = statement.execute().await.unwrap();
        let mut batches = Vec::new();
        for endpoint in info.endpoint {
            let rows = self.0.do_get(endpoint.ticket.unwrap()).await.unwrap();
            batches.extend(rows.try_collect::<Vec<_>>().await.unwrap());
        }
        batches
    }
}

/// Every trade committed to bronze after `from_us`, with the time when it was first in an answer.
pub async fn bronze(
    mut connection: Connection,
    clock: Clock,
    from_us: i64,
    pause: Duration,
    stop: CancellationToken,
) -> Probe<SeenTrade> {
    let mut statement = connection.prepare(BRONZE, &clock).await;
    let mut symbols = Symbols::default();
    let mut newest_us = from_us;
    let mut probe = Probe::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let batches = connection.ask(&mut statement, newest_us).await;
        let seen_us = clock.now_us();
        probe.query_ms.push(began.elapsed().as_secs_f64() * 1e3);
        for batch in &batches {
            let long = |column: usize| batch.column(column).as_primitive::<Int64Type>();
            let time = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>();
            let (partitions, names) = (
                batch.column(0).as_primitive::<Int32Type>(),
                batch.column(2).as_string::<i32>(),
            );
            for row in 0..batch.num_rows() {
                newest_us = newest_us.max(time(6).value(row));
                probe.seen.push(SeenTrade {
                    partition: partitions.value(row),
                    offset: long(1).value(row),
                    symbol: symbols.get(names.value(row)),
                    ts_us: time(3).value(row),
                    seq: long(4).value(row),
                    received_at_us: time(5).value(row),
                    seen_us,
                });
            }
        }
        tokio::time::sleep(pause).await;
    }
    probe
}

/// Every step forward of a bar whose window is not over at `from_us`, with the time when it was first in an answer.
pub async fn gold(
    mut connection: Connection,
    clock: Clock,
    from_us: i64,
    pause: Duration,
    stop: CancellationToken,
) -> Probe<SeenBar> {
    let mut statement = connection.prepare(GOLD, &clock).await;
    let mut symbols = Symbols::default();
    let mut reached: HashMap<(Arc<str>, i64), i64> = HashMap::new();
    let mut probe = Probe::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let batches = connection
            .ask(&mut statement, from_us - from_us.rem_euclid(MINUTE_US))
            .await;
        let seen_us = clock.now_us();
        probe.query_ms.push(began.elapsed().as_secs_f64() * 1e3);
        for batch in &batches {
            let names = batch.column(0).as_string::<i32>();
            let windows = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            let seqs = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let (symbol, window_us, last_seq) =
                    (symbols.get(names.value(row)), windows.value(row), seqs.value(row));
                if reached
                    .insert((symbol.clone(), window_us), last_seq)
                    .is_none_or(|before| before < last_seq)
                {
                    probe.seen.push(SeenBar {
                        symbol,
                        window_us,
                        last_seq,
                        seen_us,
                    });
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
    probe
}

impl<T> Probe<T> {
    fn new() -> Self {
        Self {
            seen: Vec::new(),
            query_ms: Vec::new(),
        }
    }
}

/// One allocation a symbol.
#[derive(Default)]
struct Symbols(HashMap<String, Arc<str>>);

impl Symbols {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        self.0.entry(name.to_owned()).or_insert_with(|| name.into()).clone()
    }
}

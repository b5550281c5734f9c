//! A lake with bars and trades, a server over it, a client to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{FlightInfo, Ticket};
use chrono::{DateTime, Utc};
use datafusion::arrow::array::*;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use ticklake_flight_server::{Listeners, ServerOptions, ServerStatus, serve};
use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, Table, TableName};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

pub type Client = FlightSqlServiceClient<Channel>;

/// 2026-01-01T00:00:00Z in microseconds.
pub const START_US: i64 = 1_767_225_600_000_000;
const MINUTE_US: i64 = 60_000_000;

pub struct TestLake {
    pub dir: tempfile::TempDir,
    pub lake: Lake,
}

impl TestLake {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = open(&dir);
        Self { dir, lake }
    }

    /// Three symbols, `minutes` bars each, one file a symbol.
    pub async fn with_bars(minutes: i64) -> Self {
        let this = Self::empty();
        for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT"] {
            this.add_bars(symbol, 0..minutes).await;
        }
        this
    }

    pub async fn bars(&self) -> Table {
        self.lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap()
    }

    pub async fn add_bars(&self, symbol: &str, minutes: std::ops::Range<i64>) -> u64 {
        add(&self.bars().await, symbol, minutes).await
    }

    pub async fn trades(&self) -> Table {
        self.lake.create_table(&TableName::silver_trades()).await.unwrap()
    }

    pub async fn add_trades(&self, symbol: &str, rows: std::ops::Range<i64>) -> u64 {
        add(&self.trades().await, symbol, rows).await
    }

    pub async fn serve(&self, options: ServerOptions) -> TestServer {
        TestServer::start(self.lake.clone(), options).await
    }
}

/// Another process's view of the same folder: shares no wake-ups.
pub fn open(dir: &tempfile::TempDir) -> Lake {
    let options = LakeOptions {
        durability: Durability::Os,
        ..Default::default()
    };
    Lake::open(dir.path().to_str().unwrap(), options, Clock::system()).unwrap()
}

/// One commit of rows of the first day: row `i` is minute `i`.
pub async fn add(table: &Table, symbol: &str, rows: std::ops::Range<i64>) -> u64 {
    add_batch(table, rows_of(&table.spec().file_schema(), symbol, rows)).await
}

pub async fn add_batch(table: &Table, batch: RecordBatch) -> u64 {
    let partition = BTreeMap::from([("date".to_owned(), "2026-01-01".to_owned())]);
    let add = data_file::write(table, partition, vec![batch], FileOptions::default())
        .await
        .unwrap();
    let mut committer = Committer::open(table).await.unwrap();
    let commit = Commit {
        operation: "WRITE".into(),
        adds: vec![add],
        ..Default::default()
    };
    match committer.commit(commit).await.unwrap() {
        Outcome::Committed { version } => version,
        other => panic!("{other:?}"),
    }
}

pub fn rows_of(schema: &SchemaRef, symbol: &str, rows: std::ops::Range<i64>) -> RecordBatch {
    let n = (rows.end - rows.start) as usize;
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            let ints = Int64Array::from_iter_values(rows.clone());
            match (field.name().as_str(), field.data_type()) {
                ("symbol", _) => Arc::new(StringArray::from(vec![symbol; n])),
                ("venue", _) => Arc::new(StringArray::from(vec!["sim"; n])),
                ("side", _) => Arc::new(StringArray::from_iter(
                    rows.clone().map(|i| (i % 3 > 0).then_some("buy")),
                )),
                ("trade_id", _) => Arc::new(StringArray::from_iter_values(
                    rows.clone().map(|i| format!("{symbol}-{i}")),
                )),
                (name, DataType::Utf8) => Arc::new(StringArray::from(vec![name; n])),
                (_, DataType::Int64) => Arc::new(ints),
                (_, DataType::Int32) => Arc::new(Int32Array::from_iter_values(rows.clone().map(|i| i as i32))),
                (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![true; n])),
                (_, DataType::Timestamp(_, _)) => {
                    let ts = rows.clone().map(|i| START_US + i * MINUTE_US);
                    Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC"))
                }
                (_, DataType::Decimal128(p, s)) => {
                    let one = 10i128.pow(*s as u32);
                    let values = rows.clone().map(|i| (100 + i128::from(i)) * one + 5);
                    Arc::new(
                        Decimal128Array::from_iter_values(values)
                            .with_precision_and_scale(*p, *s)
                            .unwrap(),
                    )
                }
                (_, DataType::List(_)) => {
                    let mut lists = ListBuilder::new(StringBuilder::new());
                    for i in rows.clone() {
                        if i % 2 == 0 {
                            lists.values().append_value("@");
                        }
                        lists.append(i % 5 > 0);
                    }
                    let lists = lists.finish();
                    datafusion::arrow::compute::cast(&lists, field.data_type()).unwrap()
                }
                (name, other) => panic!("{name} {other}"),
            }
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

pub struct TestServer {
    pub addr: std::net::SocketAddr,
    /// Of health and metrics.
    pub http: Option<std::net::SocketAddr>,
    pub status: Arc<ServerStatus>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<ticklake_flight_server::Result<()>>,
}

impl TestServer {
    pub async fn start(lake: Lake, options: ServerOptions) -> Self {
        let flight = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::listening(flight.into(), lake, options)
    }

    pub async fn with_http(lake: Lake, options: ServerOptions) -> Self {
        let listeners = Listeners {
            flight: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            http: Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
        };
        Self::listening(listeners, lake, options)
    }

    fn listening(listeners: Listeners, lake: Lake, options: ServerOptions) -> Self {
        let addr = |listener: &TcpListener| listener.local_addr().unwrap();
        let (flight, http) = (addr(&listeners.flight), listeners.http.as_ref().map(addr));
        let status = Arc::new(ServerStatus::default());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listeners, lake, options, status.clone(), shutdown.clone()));
        Self {
            addr: flight,
            http,
            status,
            shutdown,
            task,
        }
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addr))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn client(&self) -> Client {
        FlightSqlServiceClient::new(self.channel().await)
    }

    pub fn count(&self, name: &str) -> i64 {
        self.status.snapshot()[name].as_i64().unwrap()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub fn now() -> DateTime<Utc> {
    Clock::system().now()
}

/// The status behind arrow-flight's wrapping.
pub fn status_of(error: impl Into<arrow_flight::error::FlightError>) -> Status {
    match error.into() {
        arrow_flight::error::FlightError::Tonic(status) => *status,
        arrow_flight::error::FlightError::Arrow(datafusion::arrow::error::ArrowError::IpcError(text)) => parsed(&text),
        other => panic!("no status: {other:?}"),
    }
}

/// arrow-flight's client turns a status into text: `Status { code: .., message: .. }`.
fn parsed(text: &str) -> Status {
    for code in (0..=16).map(Code::from) {
        if text.contains(&format!("code: {code:?}")) || text.contains(&format!("code: '{code}'")) {
            return Status::new(code, text);
        }
    }
    panic!("no code in {text}")
}

pub async fn describe(client: &mut Client, sql: &str) -> Result<FlightInfo, Status> {
    client.execute(sql.to_owned(), None).await.map_err(status_of)
}

pub fn ticket(info: &FlightInfo) -> Ticket {
    assert_eq!(info.endpoint.len(), 1, "one endpoint");
    assert!(info.endpoint[0].location.is_empty(), "no location");
    info.endpoint[0].ticket.clone().unwrap()
}

/// Schema of the stream and its rows in one batch.
pub async fn fetch(client: &mut Client, ticket: Ticket) -> Result<RecordBatch, Status> {
    let mut stream = client.do_get(ticket).await.map_err(status_of)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await.map_err(status_of)? {
        batches.push(batch);
    }
    let schema = stream.schema().expect("a schema, rows or none").clone();
    Ok(concat_batches(&schema, &batches).unwrap())
}

/// Runs `sql`; the schema announced must be the schema sent.
pub async fn query(client: &mut Client, sql: &str) -> Result<RecordBatch, Status> {
    let info = describe(client, sql).await?;
    let announced = info.clone().try_decode_schema().unwrap();
    let rows = fetch(client, ticket(&info)).await?;
    assert_eq!(rows.schema().as_ref(), &announced, "{sql}");
    Ok(rows)
}

pub async fn rows(client: &mut Client, sql: &str) -> RecordBatch {
    query(client, sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
}

/// The one integer that `sql` returns.
pub async fn number(client: &mut Client, sql: &str) -> i64 {
    let rows = rows(client, sql).await;
    rows.column(0)
        .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
        .value(0)
}

/// Waits until `condition` holds, 10 s at most.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! The real client against a real WebSocket server on loopback that plays recorded data.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use ticklake_sql::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::sync::CancellationToken;

use super::super::FeedStatus;
use super::super::sink::Batch;
use super::super::status::FeedState;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A venue of our own.
struct Server {
    listener: TcpListener,
}

/// One client's connection, seen from the server.
struct Peer {
    socket: WebSocketStream<TcpStream>,
    path: String,
    subscribed: Vec<String>,
}

impl Server {
    async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// Takes a connection up to its SUBSCRIBE.
    async fn accept_unanswered(&self) -> (Peer, Value) {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        let mut path = String::new();
        #[allow(clippy::result_large_err)]
        let see = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            path = request.uri().to_string();
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, see).await.unwrap();
        let request = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let request: Value = serde_json::from_str(request.to_text().unwrap()).unwrap();
        assert_eq!(request["method"], "SUBSCRIBE");
        let subscribed = serde_json::from_value(request["params"].clone()).unwrap();
        (
            Peer {
                socket,
                path,
                subscribed,
            },
            request["id"].clone(),
        )
    }

    /// Takes a connection and acknowledges its subscription.
    async fn accept(&self) -> Peer {
        let (mut peer, id) = self.accept_unanswered().await;
        peer.send(&json!({ "result": null, "id": id }).to_string()).await;
        peer
    }
}

impl Peer {
    async fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    async fn send_all(&mut self, frames: &[String]) {
        for frame in frames {
            self.send(frame).await;
        }
    }

    /// Waits for the client to close.
    async fn closed(mut self) {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        timeout(PATIENCE, end).await.unwrap();
    }
}

/// A client that runs beside the test.
struct Running {
    context: FeedContext,
    batches: mpsc::Receiver<Batch>,
    task: tokio::task::JoinHandle<Result<()>>,
}

fn start(options: BinanceOptions) -> Running {
    let context = FeedContext {
        clock: Clock::system(),
        status: Arc::new(FeedStatus::default()),
        shutdown: CancellationToken::new(),
    };
    let (sink, batches) = Sink::new(Arc::clone(&context.status));
    let task = tokio::spawn(run(options, sink, context.clone()));
    Running { context, batches, task }
}

impl Running {
    async fn records(&mut self, count: usize) -> Vec<Value> {
        let mut records = Vec::new();
        while records.len() < count {
            let batch = timeout(PATIENCE, self.batches.recv()).await.unwrap().unwrap();
            records.extend(
                batch
                    .records()
                    .map(|(_, value)| serde_json::from_slice::<Value>(value).unwrap()),
            );
        }
        assert_eq!(records.len(), count);
        records
    }

    async fn until(&self, what: &str, condition: impl Fn(&FeedStatus) -> bool) {
        let reached = async {
            while !condition(&self.context.status) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(
            timeout(PATIENCE, reached).await.is_ok(),
            "{what}: {}",
            self.context.status.snapshot()
        );
    }

    async fn stop(self) {
        self.context.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn options(server: &Server, symbols: &[&str]) -> BinanceOptions {
    BinanceOptions {
        symbols: symbols.iter().map(|name| (*name).to_owned()).collect(),
        ws_url: server.url(),
        reconnect: (Duration::from_millis(10), Duration::from_millis(50)),
        ..BinanceOptions::default()
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

/// Real trades of BTCUSDT, framed as the venue's documentation says.
fn btc_frames(count: usize) -> Vec<String> {
    let mut text = String::new();
    let file = std::fs::File::open(fixture("binance-spot-2025/trades.jsonl.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let items = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["Item"].take());
    let frames = items.filter(|item| item["instrument"] == 0).map(|item| {
        let trade = &item["kind"]["Trade"];
        let time = super::super::coinbase::rfc3339_micros(item["time_exchange"].as_str().unwrap()).unwrap();
        let data = json!({
            "e": "trade", "E": time, "s": "BTCUSDT", "t": trade["id"].as_str().unwrap().parse::<i64>().unwrap(),
            "p": trade["price"].to_string(), "q": trade["amount"].to_string(), "T": time, "m": trade["side"] == "Sell", "M": true,
        });
        json!({ "stream": "btcusdt@trade", "data": data }).to_string()
    });
    frames.take(count).collect()
}

fn ids(records: &[Value]) -> Vec<i64> {
    records.iter().map(|record| record["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_recorded_session_with_a_disconnect_in_the_middle_comes_through_whole() {
    let text = zstd::decode_all(std::fs::File::open(fixture("ws-sessions/binance.jsonl.zst")).unwrap()).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let frames: Vec<String> = lines
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .filter(|line| line["t"] == "recv")
        .map(|line| line["data"].as_str().unwrap().to_owned())
        .collect();
    let server = Server::bind().await;
    let mut client = start(BinanceOptions {
        stream: Stream::AggTrade,
        ..options(&server, &["NKN-USDT", "LRC-BTC"])
    });

    let mut peer = server.accept().await;
    assert_eq!(peer.path, "/stream?timeUnit=MICROSECOND");
    assert_eq!(peer.subscribed, ["lrcbtc@aggTrade", "nknusdt@aggTrade"]);
    let middle = frames.iter().rposition(|frame| frame.contains("aggTrade")).unwrap();
    peer.send_all(&frames[..middle]).await;
    let first = client.records(1).await;
    drop(peer);
    let mut peer = server.accept().await;
    peer.send_all(&frames[middle..]).await;
    let second = client.records(1).await;

    assert_eq!(
        (first[0]["symbol"].as_str(), first[0]["trade_id"].as_str()),
        (Some("NKN-USDT"), Some("15683430"))
    );
    assert_eq!(
        (second[0]["symbol"].as_str(), second[0]["source"].as_str()),
        (Some("LRC-BTC"), Some("live"))
    );
    let raw = second[0]["raw"].as_str().unwrap();
    assert!(
        frames[middle].ends_with(&format!("\"data\":{raw}}}")),
        "the exact text of the trade"
    );
    client
        .until("all frames are read", |status| {
            status.frames.load(Ordering::Relaxed) == frames.len() as u64
        })
        .await;
    assert_eq!(client.context.status.connections.load(Ordering::Relaxed), 2);
    client.stop().await;
}

#[tokio::test]
async fn what_a_disconnect_missed_is_counted_by_id() {
    let frames = btc_frames(300);
    let server = Server::bind().await;
    let mut client = start(options(&server, &["BTCUSDT"]));
    let mut peer = server.accept().await;
    assert_eq!(peer.subscribed, ["btcusdt@trade"]);
    peer.send_all(&frames[..100]).await;
    let before = ids(&client.records(100).await);
    drop(peer);
    let mut peer = server.accept().await;
    peer.send_all(&frames[105..]).await;
    let after = ids(&client.records(195).await);

    let status = &client.context.status;
    assert_eq!(
        (
            status.gaps.load(Ordering::Relaxed),
            status.missed_ids.load(Ordering::Relaxed)
        ),
        (1, 5)
    );
    let gap = &status.recent_gaps()[0];
    assert_eq!((gap.from_id, gap.to_id), (before[99] + 1, after[0]));
    client.stop().await;
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_a_pinging_one_is_not() {
    let server = Server::bind().await;
    let client = start(BinanceOptions {
        silence: Duration::from_millis(300),
        ..options(&server, &["BTC-USDT"])
    });
    let silent = server.accept().await;
    client
        .until("the watchdog", |status| status.silences.load(Ordering::Relaxed) == 1)
        .await;
    drop(silent);

    let mut peer = server.accept().await;
    for beat in 0..6_u8 {
        peer.socket.send(Message::Ping(vec![b'p', beat].into())).await.unwrap();
        let answer = timeout(PATIENCE, peer.socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(
            answer,
            Message::Pong(vec![b'p', beat].into()),
            "the same payload comes back"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        client.context.status.silences.load(Ordering::Relaxed),
        1,
        "600 ms of pings only"
    );
    assert_eq!(client.context.status.state(), FeedState::Running);
    client.stop().await;
    peer.closed().await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_tried_again() {
    let server = Server::bind().await;
    let client = start(options(&server, &["BTC-USDT"]));
    let (mut peer, id) = server.accept_unanswered().await;
    peer.send(&json!({ "error": { "code": 2, "msg": "Invalid request" }, "id": id }).to_string())
        .await;
    client
        .until("the error", |status| {
            status
                .last_error()
                .is_some_and(|error| error.message.contains("Invalid request"))
        })
        .await;
    let _peer = server.accept().await;
    client
        .until("the next try", |status| status.state() == FeedState::Running)
        .await;
    client.stop().await;
}

#[tokio::test]
async fn many_symbols_are_subscribed_in_several_messages() {
    let server = Server::bind().await;
    let symbols: Vec<String> = (0..450).map(|n| format!("A{n}-USDT")).collect();
    let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let client = start(options(&server, &names));
    let mut peer = server.accept().await;
    assert_eq!(peer.subscribed.len(), 200);
    for expected in [200, 50] {
        let request = timeout(PATIENCE, peer.socket.next()).await.unwrap().unwrap().unwrap();
        let request: Value = serde_json::from_str(request.to_text().unwrap()).unwrap();
        assert_eq!(request["params"].as_array().unwrap().len(), expected);
        assert_eq!(
            client.context.status.state(),
            FeedState::Connecting,
            "not before the last answer"
        );
        peer.send(&json!({ "result": null, "id": request["id"] }).to_string())
            .await;
    }
    client
        .until("subscribed", |status| status.state() == FeedState::Running)
        .await;
    client.stop().await;
}

#[tokio::test]
async fn a_full_queue_closes_the_socket_and_the_gap_is_counted() {
    let frames = btc_frames(2_000);
    let server = Server::bind().await;
    let mut client = start(BinanceOptions {
        stall: Duration::from_millis(200),
        ..options(&server, &["BTC-USDT"])
    });
    let mut peer = server.accept().await;
    // nobody takes batches: the queue fills, then the batch behind it, then the client closes
    for frame in &frames {
        if peer.socket.send(Message::text(frame.as_str())).await.is_err() {
            break;
        }
    }
    client
        .until("the stall", |status| status.stalls.load(Ordering::Relaxed) == 1)
        .await;
    peer.closed().await;
    assert_eq!(client.context.status.state(), FeedState::Stalled);
    let read = client.context.status.trades.load(Ordering::Relaxed) as usize;
    assert!((100..1_500).contains(&read), "bounded: {read}");

    let before = ids(&client.records(read).await);
    let mut peer = server.accept().await;
    peer.send_all(&frames[1_500..1_510]).await;
    let after = ids(&client.records(10).await);
    let missed = client.context.status.missed_ids.load(Ordering::Relaxed);
    assert_eq!(
        (missed, missed as i64),
        (1_500 - read as u64, after[0] - before[read - 1] - 1),
        "what was read is not lost"
    );
    client.stop().await;
}

#[tokio::test]
async fn a_renewal_overlaps_and_misses_nothing() {
    let frames = btc_frames(40);
    let server = Server::bind().await;
    let overlap = Duration::from_millis(500);
    let mut client = start(BinanceOptions {
        overlap,
        ..options(&server, &["BTC-USDT"])
    });
    let mut old = server.accept().await;
    old.send_all(&frames[..10]).await;
    old.send(r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#)
        .await;
    let mut new = server.accept().await;
    // the venue sends to both
    old.send_all(&frames[10..20]).await;
    new.send_all(&frames[15..30]).await;
    old.closed().await;
    new.send_all(&frames[30..]).await;
    let records = client.records(45).await;
    let mut seen = ids(&records);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 40);
    let status = &client.context.status;
    assert_eq!(
        (
            status.gaps.load(Ordering::Relaxed),
            status.repeats.load(Ordering::Relaxed)
        ),
        (0, 5)
    );
    assert_eq!(status.connections.load(Ordering::Relaxed), 2);
    client.stop().await;
}

#[tokio::test]
async fn an_old_connection_is_renewed_by_age() {
    let server = Server::bind().await;
    let client = start(BinanceOptions {
        lifetime: Duration::from_millis(100),
        overlap: Duration::from_millis(10),
        ..options(&server, &["BTC-USDT"])
    });
    let first = server.accept().await;
    let second = server.accept().await;
    first.closed().await;
    client
        .until("two connections", |status| {
            status.connections.load(Ordering::Relaxed) == 2
        })
        .await;
    assert_eq!(client.context.status.silences.load(Ordering::Relaxed), 0);
    assert!(client.context.status.last_error().is_none(), "a renewal is no error");
    drop(second);
    client.stop().await;
}

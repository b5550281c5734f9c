//! The HTTP face: what is ready, and who may see figures.

use std::net::SocketAddr;
use std::time::Duration;

use ticklake_flight_server::{Secret, ServerOptions};
use ticklake_sql::TableName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::*;
use crate::stalling::StallingStore;

async fn get(addr: SocketAddr, path: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn ready(server: &TestServer) -> String {
    get(server.http.unwrap(), "/health/ready", "").await
}

fn is(answer: &str, code: u16, part: &str) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(part)
}

#[tokio::test]
async fn a_lake_that_does_not_answer_is_not_ready() {
    let store = StallingStore::new();
    let lake = store.lake();
    let bars = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    add(&bars, "BTC-USDT", 0..3).await;
    let server = TestServer::with_http(lake, ServerOptions::default()).await;
    let answer = ready(&server).await;
    assert!(is(&answer, 200, "ready"), "{answer}");
    store.stall(true);
    // What tables there are is not looked up again for a moment.
    eventually("not ready", async || is(&ready(&server).await, 503, "did not answer")).await;
    // It lives all the same.
    let answer = get(server.http.unwrap(), "/health/live", "").await;
    assert!(is(&answer, 200, "alive"), "{answer}");
    store.stall(false);
    eventually("ready again", async || is(&ready(&server).await, 200, "ready")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_lake_older_than_its_set_age_is_not_ready() {
    let lake = TestLake::empty();
    let within = |age| ServerOptions {
        ready_max_age: Some(age),
        ..Default::default()
    };
    let strict = TestServer::with_http(lake.lake.clone(), within(Duration::from_millis(1))).await;
    let lenient = TestServer::with_http(lake.lake.clone(), within(Duration::from_secs(3_600))).await;
    for server in [&strict, &lenient] {
        let answer = ready(server).await;
        assert!(is(&answer, 503, "no table yet"), "{answer}");
    }
    lake.add_bars("BTC-USDT", 0..3).await;
    eventually("old", async || is(&ready(&strict).await, 503, "s old")).await;
    eventually("young", async || is(&ready(&lenient).await, 200, "ready")).await;
    strict.stop().await;
    lenient.stop().await;
}

#[tokio::test]
async fn metrics_may_have_a_token() {
    let options = ServerOptions {
        metrics_token: Some(Secret(b"figures".to_vec())),
        ..Default::default()
    };
    let server = TestServer::with_http(TestLake::empty().lake, options).await;
    for header in ["", "authorization: Bearer wrong\r\n", "authorization: figures\r\n"] {
        let answer = get(server.http.unwrap(), "/metrics", header).await;
        assert!(
            is(&answer, 401, "metrics token") && !answer.contains("ticklake_"),
            "{answer}"
        );
    }
    let answer = get(server.http.unwrap(), "/metrics", "authorization: Bearer figures\r\n").await;
    assert!(is(&answer, 200, "ticklake_serve_queries_total"), "{answer}");
    // Health has none: whoever restarts the server holds no token.
    assert!(is(&get(server.http.unwrap(), "/health/live", "").await, 200, "alive"));
    server.stop().await;
}

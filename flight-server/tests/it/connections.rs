//! What a connection may hold without giving: requests that do not come, calls without a log-in, heads of HTTP that stop.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use bytes::Bytes;
use http_body::Frame;
use ticklake_flight_server::ServerOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower_service::Service;

use crate::faults::answers;
use crate::fixture::*;
use crate::identity::{users, with_users};

const WITHIN: Duration = Duration::from_secs(5);
/// HTTP/2's preface and empty settings.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A request's body: its start, and then nothing.
struct HalfSent(Option<Bytes>);

impl http_body::Body for HalfSent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// The answer to a call that never ends its request.
async fn call(mut channel: Channel, method: &str, start: &'static [u8]) -> Status {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let half = HalfSent(Some(Bytes::from_static(start)).filter(|start| !start.is_empty()));
    let request = http::Request::post(format!("http://lake/arrow.flight.protocol.FlightService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(half))
        .unwrap();
    let response = channel.call(request).await.unwrap();
    Status::from_header_map(response.headers()).expect("a status")
}

#[tokio::test]
async fn requests_that_do_not_come_are_answered_in_time() {
    let options = ServerOptions {
        reader_timeout: Duration::from_millis(400),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let channel = server.channel().await;
    let methods = [
        "GetFlightInfo",
        "GetSchema",
        "PollFlightInfo",
        "DoGet",
        "DoPut",
        "DoAction",
        "ListFlights",
    ];
    // Nothing, half a head, a megabyte of which four bytes come.
    let starts: [&[u8]; 3] = [b"", b"\0\0", b"\0\0\x10\0\0half"];
    let calls = methods
        .iter()
        .flat_map(|method| starts.map(|start| (*method, start)))
        .map(|(method, start)| {
            let channel = channel.clone();
            async move { (method, start, call(channel, method, start).await) }
        });
    let all = futures::future::join_all(calls);
    for (method, start, status) in tokio::time::timeout(WITHIN, all).await.expect("answers in time") {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{method} {start:?}: {status:?}");
        assert!(status.message().contains("400 ms"), "{method} {start:?}: {status:?}");
    }
    answers(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_on_which_nobody_logs_in_is_closed() {
    let lake = TestLake::empty();
    let path = users(lake.dir.path(), "");
    let options = ServerOptions {
        log_in_timeout: Duration::from_millis(500),
        ..with_users(&path)
    };
    let server = lake.serve(options).await;
    let mut alice = server.client().await;
    alice.handshake("alice", "correct horse").await.unwrap();
    let sql = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";
    let info = describe(&mut alice, sql).await.unwrap();
    let mut request = tonic::Request::new(ticket(&info));
    let bearer = format!("Bearer {}", alice.token().unwrap());
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut stream = raw.do_get(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let mut stranger = TcpStream::connect(server.addr).await.unwrap();
    stranger.write_all(OPENING).await.unwrap();
    let closed = tokio::time::timeout(WITHIN, stranger.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "it stays open");
    // Whoever was let in before that stays.
    for _ in 0..100 {
        assert!(stream.message().await.unwrap().is_some());
    }
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_of_health_that_asks_no_more_or_not_to_the_end_is_closed() {
    let options = ServerOptions {
        handshake_timeout: Duration::from_millis(500),
        ..Default::default()
    };
    let server = TestServer::with_http(TestLake::empty().lake, options).await;
    let whole = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    for rest in ["", "GET /health/live HTTP/1.1\r\nho"] {
        let mut socket = TcpStream::connect(server.http.unwrap()).await.unwrap();
        socket.write_all(format!("{whole}{rest}").as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let closed = tokio::time::timeout(WITHIN, socket.read_to_end(&mut said)).await;
        assert!(closed.is_ok(), "it stays open after {rest:?}");
        assert!(String::from_utf8_lossy(&said).contains("alive"), "{said:?}");
    }
    server.stop().await;
}

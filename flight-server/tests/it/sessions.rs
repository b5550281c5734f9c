//! Session options: kept by clients that keep cookies from their first call on, refused to others, and of effect on queries.

use std::time::{Duration, Instant};

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use datafusion::arrow::array::AsArray;
use futures::TryStreamExt;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use ticklake_flight_server::{Secret, ServerOptions, UsersFile};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::fixture::*;

type Raw = FlightServiceClient<Channel>;

/// A message's field of some length, as Protobuf writes it.
fn field(tag: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut out);
    encode_varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

/// `SetSessionOptionsRequest { session_options: { name: { string_value } } }` of Flight.proto.
fn options(pairs: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(name, value): &(&str, &str)| {
        let value = field(1, value.as_bytes());
        field(1, &[field(1, name.as_bytes()), field(2, &value)].concat())
    };
    pairs.iter().flat_map(entry).collect()
}

/// The cookies of the reply.
async fn set(raw: &mut Raw, pairs: &[(&str, &str)], headers: &[(&'static str, &str)]) -> Result<Vec<String>, Status> {
    let mut request = Request::new(Action {
        r#type: "SetSessionOptions".into(),
        body: options(pairs).into(),
    });
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let response = raw.do_action(request).await?;
    let cookies = response.metadata().get_all("set-cookie").iter();
    let cookies = cookies.map(|c| c.to_str().unwrap().to_owned()).collect();
    let results: Vec<_> = response.into_inner().try_collect().await?;
    assert_eq!(results.iter().map(|r| r.encoded_len()).sum::<usize>(), 0, "no errors");
    Ok(cookies)
}

async fn raw(server: &TestServer) -> Raw {
    FlightServiceClient::new(server.channel().await)
}

#[tokio::test]
async fn the_first_call_of_a_connection_may_set_options() {
    let lake = TestLake::with_bars(3).await;
    lake.add_trades("BTC-USDT", 0..3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut first = raw(&server).await;
    let silver = [("schema", "silver")];
    let cookies = set(&mut first, &silver, &[]).await.unwrap();
    let [session] = cookies.as_slice() else {
        panic!("one cookie: {cookies:?}")
    };
    let mut client = server.client().await;
    client.set_header("cookie", session);
    assert_eq!(number(&mut client, "SELECT count(*) FROM trades").await, 3);
    // It was given a cookie then, and sends none.
    let refused = set(&mut first, &silver, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("with_cookie_middleware"), "{refused:?}");
    assert!(refused.message().contains("retainCookies"), "{refused:?}");
    set(&mut first, &silver, &[("cookie", "arrow_flight_session_id=none")])
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn options_change_what_queries_do() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let with = async |pairs: &[(&str, &str)]| {
        let cookies = set(&mut raw(&server).await, pairs, &[]).await.unwrap();
        let mut client = server.client().await;
        client.set_header("cookie", &cookies[0]);
        client
    };
    let mut berlin = with(&[("time_zone", "Europe/Berlin")]).await;
    let found = rows(&mut berlin, "SELECT arrow_typeof(now()) AS t").await;
    let told = found.column(0).as_string::<i32>().value(0);
    assert!(told.contains("Europe/Berlin"), "{told}");

    let database = async |client: &mut Client| {
        let found = rows(
            client,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY table_name",
        )
        .await;
        let names = found.column(0).as_string::<i32>().iter().flatten();
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(database(&mut berlin).await, ["latest", "ohlcv_1m"]);
    let mut system = with(&[("schema", "system")]).await;
    assert_eq!(database(&mut system).await, ["queries", "tables"]);

    let mut hurried = with(&[("timeout_ms", "300")]).await;
    let began = Instant::now();
    let endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let refused = query(&mut hurried, endless).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let types = async |client: &mut Client| {
        let found = rows(client, "SELECT window_start, open FROM gold.ohlcv_1m").await;
        let fields = found.schema().fields().clone();
        fields.iter().map(|f| f.data_type().to_string()).collect::<Vec<_>>()
    };
    let mut grafana = with(&[("types", "grafana")]).await;
    assert_eq!(types(&mut grafana).await, ["Timestamp(ns, \"UTC\")", "Float64"]);
    let mut naive = with(&[("timestamp", "naive")]).await;
    assert_eq!(types(&mut naive).await, ["Timestamp(µs)", "Decimal128(28, 12)"]);
    // The header of a call wins.
    naive.set_header("x-ticklake-timestamp", "ns");
    assert_eq!(types(&mut naive).await[0], "Timestamp(ns, \"UTC\")");
    server.stop().await;
}

#[tokio::test]
async fn a_session_belongs_to_its_user() {
    let lake = TestLake::with_bars(3).await;
    let path = lake.dir.path().join("users.toml");
    let mut users = UsersFile::open(&path).unwrap();
    for user in ["alice", "bob"] {
        users.add(user, "reader", Some("correct horse")).unwrap();
    }
    let with_users = ServerOptions {
        users_file: Some(path),
        signing_key: Some(Secret(vec![7; 32])),
        ..Default::default()
    };
    let server = lake.serve(with_users).await;
    let log_in = async |user: &str| {
        let mut client = server.client().await;
        client.handshake(user, "correct horse").await.unwrap();
        client
    };
    let (mut alice, mut bob) = (log_in("alice").await, log_in("bob").await);
    let bearer = format!("Bearer {}", alice.token().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let cookies = set(&mut raw(&server).await, &[("schema", "silver")], &headers)
        .await
        .unwrap();
    for client in [&mut alice, &mut bob] {
        client.set_header("cookie", &cookies[0]);
    }
    assert_eq!(number(&mut alice, "SELECT count(*) FROM gold.ohlcv_1m").await, 9);
    let refused = query(&mut bob, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(refused.message().contains("session cookie"), "{refused:?}");
    server.stop().await;
}

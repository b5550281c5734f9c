//! Serving: the calls around queries, many at once, clients that go away, shutdown.

use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, FlightDescriptor, IpcMessage,
};
use datafusion::arrow::datatypes::Schema;
use futures::TryStreamExt;
use prost::Message;
use ticklake_flight_server::ServerOptions;
use tonic::Code;

use crate::fixture::*;

/// More rows than any buffer between here and the server holds.
const LONG: &str = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";

fn descriptor(sql: &str) -> FlightDescriptor {
    let command = CommandStatementQuery {
        query: sql.into(),
        transaction_id: None,
    };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

#[tokio::test]
async fn a_login_gets_a_bearer_and_any_is_accepted() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    client.handshake("someone", "something").await.unwrap();
    assert!(client.token().is_some_and(|t| !t.is_empty()));
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    client.set_token("None".into());
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn what_the_trait_leaves_out_answers() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let sql = "SELECT symbol FROM gold.ohlcv_1m";
    let result = raw.get_schema(descriptor(sql)).await.unwrap().into_inner();
    let schema = Schema::try_from(IpcMessage(result.schema)).unwrap();
    assert_eq!(schema.field(0).name(), "symbol");
    let poll = raw.poll_flight_info(descriptor(sql)).await.unwrap().into_inner();
    assert!(poll.flight_descriptor.is_none() && poll.info.is_some());
    let flights: Vec<_> = raw
        .list_flights(Criteria::default())
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    assert!(flights.is_empty());
    let close = Action {
        r#type: "CloseSession".into(),
        body: Default::default(),
    };
    let closed: Vec<_> = raw
        .do_action(close)
        .await
        .unwrap()
        .into_inner()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(closed.len(), 1);
    let unknown = raw
        .do_action(Action {
            r#type: "Dance".into(),
            body: Default::default(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    let ingest = raw.get_flight_info(FlightDescriptor::new_path(vec!["x".into()])).await;
    assert_eq!(ingest.unwrap_err().code(), Code::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn many_queries_at_once_are_right() {
    let lake = TestLake::with_bars(200).await;
    let server = lake
        .serve(ServerOptions {
            max_running: 3,
            ..Default::default()
        })
        .await;
    let tasks: Vec<_> = (0..24)
        .map(|i| {
            let client = server.client();
            let n = 1 + i % 200;
            (n, client)
        })
        .collect();
    let results = futures::future::join_all(tasks.into_iter().map(|(n, client)| async move {
        let mut client = client.await;
        let sql = format!("SELECT count(*) FROM gold.ohlcv_1m WHERE trade_count < {n} AND symbol <> 'ETH-USDT'");
        (n, number(&mut client, &sql).await)
    }))
    .await;
    for (n, found) in results {
        assert_eq!(found, 2 * n);
    }
    eventually("all streams are closed", async || server.count("open_streams") == 0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot() {
    let server = TestLake::empty()
        .serve(ServerOptions {
            max_running: 1,
            ..Default::default()
        })
        .await;
    let mut client = server.client().await;
    let info = describe(&mut client, LONG).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    assert_eq!(server.count("open_streams"), 1);
    drop(stream);
    drop(client);
    eventually("the stream is closed", async || server.count("open_streams") == 0).await;
    assert_eq!(number(&mut server.client().await, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = TestLake::empty()
        .serve(ServerOptions {
            max_running: 1,
            max_queued: 0,
            ..Default::default()
        })
        .await;
    let mut client = server.client().await;
    let info = describe(&mut client, LONG).await.unwrap();
    let stream = client.do_get(ticket(&info)).await.unwrap();
    let refused = query(&mut server.client().await, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // Of the server, not of the user: that bound stands behind it.
    assert!(refused.message().contains("1 queries run and 0 wait"), "{refused:?}");
    drop((stream, client));
    eventually("the slot is free", async || {
        query(&mut server.client().await, "SELECT 1").await.is_ok()
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_query_can_be_cancelled_by_its_info() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let info = describe(&mut client, LONG).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut cancel = async || {
        let body = CancelFlightInfoRequest {
            info: Some(info.clone()),
        }
        .encode_to_vec();
        let action = Action {
            r#type: "CancelFlightInfo".into(),
            body: body.into(),
        };
        let answer = raw
            .do_action(action)
            .await
            .unwrap()
            .into_inner()
            .try_next()
            .await
            .unwrap()
            .unwrap();
        CancelFlightInfoResult::decode(answer.body).unwrap().status()
    };
    assert_eq!(cancel().await, CancelStatus::Cancelled);
    let end = loop {
        match stream.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(status_of(error)),
        }
    };
    assert_eq!(end.map(|s| s.code()), Some(Code::Cancelled));
    assert_eq!(cancel().await, CancelStatus::NotCancellable);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_lets_a_stream_end_and_cuts_an_endless_one() {
    let lake = TestLake::with_bars(500).await;
    let options = ServerOptions {
        drain_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    let info = describe(&mut client, "SELECT * FROM gold.ohlcv_1m").await.unwrap();
    let short = client.do_get(ticket(&info)).await.unwrap();
    let mut other = server.client().await;
    let info = describe(&mut other, LONG).await.unwrap();
    let _long = other.do_get(ticket(&info)).await.unwrap();
    server.shutdown.cancel();
    let rows: Vec<_> = short.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 1_500);
    tokio::time::timeout(Duration::from_secs(5), server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

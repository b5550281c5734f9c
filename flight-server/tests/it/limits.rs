//! Limits over the wire: caps are errors, cancelled joins end, metadata does not wait, one user leaves room for another.

use std::time::{Duration, Instant};

use arrow_flight::Action;
use arrow_flight::flight_service_client::FlightServiceClient;
use datafusion::arrow::array::AsArray;
use futures::TryStreamExt;
use ticklake_flight_server::ServerOptions;
use ticklake_sql::TableName;
use tonic::Code;

use crate::fixture::*;

const LONG: &str = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";
/// Compares nine trillion pairs and keeps none.
const NOTHING: &str = "SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value + b.value < 0 AND a.value * b.value < 0";

#[tokio::test]
async fn a_cap_on_bytes_is_an_error() {
    let options = ServerOptions {
        max_bytes: 1 << 20,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let refused = query(&mut client, LONG).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("bytes"), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn metadata_does_not_wait_for_queries() {
    let lake = TestLake::with_bars(3).await;
    let options = ServerOptions {
        max_running: 1,
        max_queued: 0,
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    let info = describe(&mut client, LONG).await.unwrap();
    let _stream = client.do_get(ticket(&info)).await.unwrap();
    let mut other = server.client().await;
    assert_eq!(
        query(&mut other, "SELECT 1").await.unwrap_err().code(),
        Code::Unavailable
    );
    let sql = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'gold'";
    assert_eq!(number(&mut other, sql).await, 2);
    drop((_stream, client, other));
    server.stop().await;
}

#[tokio::test]
async fn a_join_that_keeps_nothing_ends_when_cancelled() {
    let options = ServerOptions {
        query_timeout: Duration::from_millis(500),
        max_running: 1,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let started = Instant::now();
    let refused = query(&mut client, NOTHING).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    // Its slot is free once its tasks have ended.
    eventually("the slot is free", async || {
        query(&mut client, "SELECT 1").await.is_ok()
    })
    .await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn statements_are_shown_and_cancelled_by_id() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let info = describe(&mut client, LONG).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    let mut other = server.client().await;
    let shown = rows(
        &mut other,
        "SELECT id, user_name, sql FROM system.queries WHERE state = 'running' AND sql LIKE '%repeat%' AND sql NOT LIKE '%system.%'",
    )
    .await;
    assert_eq!(shown.num_rows(), 1);
    assert_eq!(shown.column(1).as_string::<i32>().value(0), "anonymous");
    let id = shown.column(0).as_string::<i32>().value(0).to_owned();
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut cancel = async |id: String| {
        let action = Action {
            r#type: "ticklake.CancelQuery".into(),
            body: id.into(),
        };
        raw.do_action(action).await.map(|_| ())
    };
    cancel(id.clone()).await.unwrap();
    let end = loop {
        match stream.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a shortened result"),
            Err(error) => break status_of(error),
        }
    };
    assert_eq!(end.code(), Code::Cancelled);
    assert_eq!(cancel(id.clone()).await.unwrap_err().code(), Code::NotFound);
    let ended = format!("SELECT count(*) FROM system.queries WHERE id = '{id}' AND outcome = 'Cancelled' AND rows > 0");
    assert_eq!(number(&mut other, &ended).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn the_tables_and_their_state_are_shown() {
    let lake = TestLake::with_bars(3).await;
    let checks = lake.lake.create_table(&TableName::system_checks()).await.unwrap();
    add(&checks, "BTC-USDT", 0..2).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, "SELECT count(*) FROM system.checks").await, 2);
    let both = "SELECT count(*) FROM system.checks, system.tables t WHERE t.table_schema = 'system' AND t.table_name = 'checks'";
    assert_eq!(number(&mut client, both).await, 2);
    let sql = "SELECT count(*) FROM system.tables WHERE table_name = 'ohlcv_1m' AND version = 3 AND files = 3 AND small_files = 3 \
               AND rows = 9 AND bytes > 0 AND log_depth >= 1 AND committed_at > '2026-01-01'";
    assert_eq!(number(&mut client, sql).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_nested_loop_out_of_memory_is_an_error_and_never_other_rows() {
    let lake = TestLake::empty();
    for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"] {
        lake.add_trades(symbol, 0..20_000).await;
    }
    let options = |memory_bytes| ServerOptions {
        memory_bytes,
        query_threads: 4,
        ..Default::default()
    };
    let small = lake.serve(options(5 << 20)).await;
    let large = lake.serve(options(1 << 30)).await;
    let (mut within_little, mut within_much) = (small.client().await, large.client().await);
    // Held from behind an exchange, from files that partitions share, and by an outer join.
    let wide = "symbol, ts, seq, trade_id, repeat(topic, 20) AS wide";
    let grouped = "SELECT symbol, seq, trade_id, max(repeat(topic, 20)) AS wide FROM silver.trades GROUP BY symbol, seq, trade_id";
    for sql in [
        format!("SELECT count(wide) FROM ({grouped}) a JOIN generate_series(1, 50) b ON a.seq < b.value"),
        format!(
            "SELECT count(wide) FROM (SELECT {wide} FROM silver.trades) a JOIN generate_series(1, 50) b ON a.seq < b.value"
        ),
        format!(
            "SELECT count(wide) FROM (SELECT {wide} FROM silver.trades) a LEFT JOIN generate_series(1, 50) b ON a.seq < b.value"
        ),
    ] {
        assert!(number(&mut within_much, &sql).await > 4_000, "{sql}");
        let refused = query(&mut within_little, &sql).await.expect_err(&sql);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{sql}: {refused:?}");
        assert!(refused.message().contains("narrow that side"), "{sql}: {refused:?}");
    }
    small.stop().await;
    large.stop().await;
}

#[tokio::test]
async fn a_slow_computation_sends_empty_batches_meanwhile() {
    let often = ServerOptions {
        idle_batch_every: Duration::from_millis(100),
        ..Default::default()
    };
    let server = TestLake::empty().serve(often).await;
    let mut client = server.client().await;
    let info = describe(&mut client, NOTHING).await.unwrap();
    let mut stream = client.do_get(ticket(&info)).await.unwrap();
    for _ in 0..3 {
        let next = tokio::time::timeout(Duration::from_secs(20), stream.try_next()).await;
        let batch = next.expect("something within 20 s").unwrap().unwrap();
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 1));
    }
    assert!(server.count("idle_batches") >= 3);
    server.stop().await;
}

#[tokio::test]
async fn a_table_is_read_as_it_was() {
    let lake = TestLake::with_bars(5).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let count = |at: &str| format!("SELECT count(*) FROM table_at('gold.ohlcv_1m', {at})");
    for (version, rows) in [(0, 0), (1, 5), (2, 10), (3, 15)] {
        assert_eq!(
            number(&mut client, &count(&version.to_string())).await,
            rows,
            "version {version}"
        );
    }
    let both = "SELECT count(*) FROM gold.ohlcv_1m n LEFT JOIN table_at('gold.ohlcv_1m', 1) o USING (symbol, window_start) WHERE o.symbol IS NULL";
    assert_eq!(number(&mut client, both).await, 10);
    let asked = now();
    let then = asked.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    // Commits tell their time in milliseconds.
    eventually("another millisecond", async || {
        now().timestamp_millis() > asked.timestamp_millis()
    })
    .await;
    lake.add_bars("BTC-USDT", 5..6).await;
    eventually("the new bar", async || {
        number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await == 16
    })
    .await;
    assert_eq!(number(&mut client, &count(&format!("TIMESTAMP '{then}'"))).await, 15);
    for (at, code) in [
        ("TIMESTAMP '2001-01-01 00:00:00'", Code::NotFound),
        ("4711", Code::NotFound),
        ("'yesterday'", Code::InvalidArgument),
        ("$1", Code::InvalidArgument),
    ] {
        let refused = query(&mut client, &count(at)).await.expect_err(at);
        assert_eq!(refused.code(), code, "{at}: {refused:?}");
    }
    server.stop().await;
}

//! What is refused, with which code; the server answers the next query all the same.

use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, Ticket};
use prost::Message;
use ticklake_flight_server::ServerOptions;
use tonic::Code;

use crate::fixture::*;

#[tokio::test]
async fn what_is_no_reading_query_is_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let outside = lake.dir.path().join("outside.csv");
    let copy = format!("COPY (SELECT 1) TO '{}'", outside.display());
    let external = format!(
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{}'",
        lake.dir.path().display()
    );
    let by_path = format!("SELECT * FROM '{}'", lake.dir.path().join("gold/ohlcv_1m").display());
    for (sql, code, part) in [
        ("DROP TABLE gold.ohlcv_1m", Code::PermissionDenied, "DROP TABLE"),
        (copy.as_str(), Code::PermissionDenied, "COPY"),
        (
            "INSERT INTO gold.ohlcv_1m SELECT * FROM gold.ohlcv_1m",
            Code::PermissionDenied,
            "INSERT INTO",
        ),
        (external.as_str(), Code::PermissionDenied, "CREATE EXTERNAL TABLE"),
        (
            "SET datafusion.runtime.memory_limit = '1K'",
            Code::PermissionDenied,
            "SET",
        ),
        ("CREATE TABLE x AS SELECT 1", Code::PermissionDenied, "read-only"),
        (
            "SELECT * INTO gold.x FROM gold.ohlcv_1m",
            Code::PermissionDenied,
            "read-only",
        ),
        (
            "EXPLAIN ANALYZE INSERT INTO gold.ohlcv_1m SELECT * FROM gold.ohlcv_1m",
            Code::PermissionDenied,
            "read-only",
        ),
        ("SELECT 1; SELECT 2", Code::InvalidArgument, "one at a time"),
        (
            "SELECT 1; DROP TABLE gold.ohlcv_1m",
            Code::InvalidArgument,
            "one at a time",
        ),
        ("", Code::InvalidArgument, "empty"),
        ("SELEC 1", Code::InvalidArgument, "parse"),
        ("SELECT nope FROM gold.ohlcv_1m", Code::InvalidArgument, "nope"),
        ("SELECT nope(1)", Code::InvalidArgument, "nope"),
        ("SELECT * FROM gold.nope", Code::NotFound, "gold.nope"),
        ("SELECT * FROM nope", Code::NotFound, "nope"),
        (
            "SELECT * FROM other.gold.ohlcv_1m",
            Code::NotFound,
            "other.gold.ohlcv_1m",
        ),
        (by_path.as_str(), Code::NotFound, "does not exist"),
        (
            "SELECT * FROM gold.ohlcv_1m TABLESAMPLE (10 PERCENT)",
            Code::Unimplemented,
            "TABLESAMPLE",
        ),
        (
            "SELECT * FROM gold.ohlcv_1m PREWHERE trade_count = 1",
            Code::Unimplemented,
            "PREWHERE",
        ),
        (
            "SELECT symbol, count(*) FROM gold.ohlcv_1m GROUP BY symbol WITH ROLLUP",
            Code::Unimplemented,
            "ROLLUP",
        ),
        ("SELECT ?", Code::InvalidArgument, "takes 1 values"),
    ] {
        let refused = query(&mut client, sql).await.expect_err(sql);
        assert_eq!(refused.code(), code, "{sql}: {refused:?}");
        assert!(refused.message().contains(part), "{sql}: {refused:?}");
        // A placeholder without a value is the one thing that is no fault of a prepared statement.
        if sql != "SELECT ?" {
            let refused = client.prepare(sql.to_owned(), None).await.expect_err(sql);
            assert_eq!(status_of(refused).code(), code, "prepared: {sql}");
        }
    }
    for sql in [
        "DROP TABLE gold.ohlcv_1m",
        "INSERT INTO gold.ohlcv_1m SELECT * FROM gold.ohlcv_1m",
        "SELECT 1",
    ] {
        let refused = client.execute_update(sql.to_owned(), None).await.expect_err(sql);
        let code = status_of(refused).code();
        assert!(
            matches!(
                code,
                Code::PermissionDenied | Code::Unimplemented | Code::InvalidArgument
            ),
            "an update: {sql}: {code:?}"
        );
    }
    assert!(!outside.exists());
    assert_eq!(number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await, 9);
    assert!(server.count("errors") >= 20);
    server.stop().await;
}

#[tokio::test]
async fn what_fails_while_running_is_told_by_its_code() {
    let lake = TestLake::with_bars(3).await;
    let options = ServerOptions {
        max_rows: 1_000,
        memory_bytes: 32 << 20,
        spill_bytes: 1 << 20,
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    for (sql, code) in [
        (
            "SELECT 1 / (trade_count - trade_count) FROM gold.ohlcv_1m",
            Code::InvalidArgument,
        ),
        (
            "SELECT CAST(symbol AS BIGINT) FROM gold.ohlcv_1m",
            Code::InvalidArgument,
        ),
        ("SELECT * FROM generate_series(1, 100000)", Code::ResourceExhausted),
        ("SELECT repeat('x', 5000000)", Code::ResourceExhausted),
        (
            "SELECT value FROM generate_series(1, 50000000) ORDER BY value % 7, -value",
            Code::ResourceExhausted,
        ),
    ] {
        let refused = query(&mut client, sql).await.expect_err(sql);
        assert_eq!(refused.code(), code, "{sql}: {refused:?}");
    }
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let options = ServerOptions {
        query_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b";
    let refused = query(&mut client, endless).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn malformed_messages_are_the_callers_error() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let noise = FlightDescriptor::new_cmd(vec![0xff, 0x01, 0x02]);
    assert_eq!(
        raw.get_flight_info(noise).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let mut any = CommandStatementQuery::default().as_any();
    any.value = vec![0xff; 3].into();
    let inner = FlightDescriptor::new_cmd(any.encode_to_vec());
    assert_eq!(
        raw.get_flight_info(inner).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let noise = Ticket {
        ticket: vec![9; 40].into(),
    };
    assert_eq!(raw.do_get(noise).await.unwrap_err().code(), Code::InvalidArgument);
    let forged = TicketStatementQuery {
        statement_handle: vec![1; 80].into(),
    }
    .as_any()
    .encode_to_vec();
    let forged = raw.do_get(Ticket { ticket: forged.into() }).await.unwrap_err();
    assert_eq!(forged.code(), Code::PermissionDenied, "{forged:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_open_address_needs_a_word() {
    let lake = TestLake::empty();
    let serve = async |options: ServerOptions| {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let stopped = tokio_util::sync::CancellationToken::new();
        stopped.cancel();
        ticklake_flight_server::serve(listener, lake.lake.clone(), options, Default::default(), stopped).await
    };
    let refused = serve(ServerOptions::default()).await.unwrap_err().to_string();
    assert!(refused.contains("ticklake user add"), "{refused}");
    let insecure = ServerOptions {
        insecure: true,
        ..Default::default()
    };
    let refused = serve(insecure.clone()).await.unwrap_err().to_string();
    assert!(
        refused.contains("ticklake user add"),
        "insecure waives encryption only: {refused}"
    );
    let users = lake.dir.path().join("users.toml");
    let mut file = ticklake_flight_server::UsersFile::open(&users).unwrap();
    file.add("alice", "reader", Some("correct horse")).unwrap();
    let with_users = |options| ServerOptions {
        users_file: Some(users.clone()),
        ..options
    };
    let refused = serve(with_users(ServerOptions::default()))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("--insecure"), "{refused}");
    serve(with_users(insecure)).await.unwrap();
}

#[tokio::test]
async fn what_would_exhaust_the_planner_is_refused() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let mut doubling = "WITH c0 AS (SELECT * FROM gold.ohlcv_1m)".to_owned();
    for i in 1..30 {
        doubling += &format!(", c{i} AS (SELECT x.* FROM c{0} x, c{0} y)", i - 1);
    }
    doubling += " SELECT count(*) FROM c29";
    for sql in [
        format!("SELECT 1{}", " + 1".repeat(200_000)),
        format!("SELECT 1{}", " OR true".repeat(100_000)),
        format!("SELECT 1{}", "::INT".repeat(150_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(40_000)),
        format!("SELECT {}1{}", "(".repeat(200_000), ")".repeat(200_000)),
        format!("SELECT {}1", "- ".repeat(200_000)),
        format!("SELECT {}1", "NOT ".repeat(200_000)),
        format!("SELECT '{}'", "x".repeat(2 << 20)),
        doubling,
    ] {
        let refused = query(&mut client, &sql).await.expect_err(&sql[..40]);
        assert_eq!(refused.code(), Code::InvalidArgument, "{}: {refused:?}", &sql[..40]);
    }
    // As deep as is let through.
    let deep = format!("SELECT CAST(1{} AS BIGINT)", " + trade_count * 0".repeat(1_900));
    assert_eq!(
        number(&mut client, &format!("{deep} FROM gold.ohlcv_1m LIMIT 1")).await,
        1
    );
    let wide = format!("SELECT count(*) FROM (SELECT 1{}) x", " UNION ALL SELECT 1".repeat(500));
    assert_eq!(number(&mut client, &wide).await, 501);
    server.stop().await;
}

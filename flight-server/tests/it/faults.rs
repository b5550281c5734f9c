//! What clients, statements and stores may do to a server: each gets a typed error or a bounded wait, and others their answers meanwhile.

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use datafusion::arrow::array::AsArray;
use futures::TryStreamExt;
use ticklake_flight_server::{Secret, ServerOptions};
use ticklake_sql::TableName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::fixture::*;
use crate::stalling::StallingStore;

const LONG: &str = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";
/// What a client says first: its preface, and settings without any.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// An answer to another client meanwhile: the machine is shared, so this is no figure.
const MEANWHILE: Duration = Duration::from_secs(5);

/// Another client's query is answered.
pub async fn answers(server: &TestServer) {
    let asked = async { number(&mut server.client().await, "SELECT 1").await };
    let answer = tokio::time::timeout(MEANWHILE, asked).await;
    assert_eq!(answer.expect("an answer meanwhile"), 1);
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off() {
    let options = ServerOptions {
        reader_timeout: Duration::from_millis(300),
        max_running: 1,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let info = describe(&mut server.client().await, LONG).await.unwrap();
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut stream = raw.do_get(ticket(&info)).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    eventually("it is cut off", async || server.count("open_streams") == 0).await;
    answers(&server).await;
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a shortened result"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::ResourceExhausted, "{end:?}");
    assert!(end.message().contains("300 ms"), "{end:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let options = ServerOptions {
        handshake_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    answers(&server).await;
    let closed = tokio::time::timeout(MEANWHILE, silent.read(&mut [0])).await;
    assert!(matches!(closed.expect("an end"), Ok(0) | Err(_)));
    answers(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_stops_in_the_middle_or_answers_no_ping_is_closed() {
    let options = ServerOptions {
        handshake_timeout: Duration::from_secs(4),
        keepalive: Duration::from_millis(300),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    for said in [&HTTP_2[..10], HTTP_2] {
        let mut silent = TcpStream::connect(server.addr).await.unwrap();
        silent.write_all(said).await.unwrap();
        answers(&server).await;
        // What the server says meanwhile is not answered.
        let closed = tokio::time::timeout(3 * MEANWHILE, silent.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "after {} bytes", said.len());
    }
    // What is no HTTP/2 is told so at once.
    let mut other = TcpStream::connect(server.addr).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(3), other.read_to_end(&mut Vec::new())).await;
    assert!(told.is_ok(), "it waits");
    answers(&server).await;
    server.stop().await;
}

/// Both ends of every connection are in this process: its soft limit of open files goes up to its hard one.
fn allow_open_files(wanted: usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(4).unwrap();
    assert!(
        hard.parse().unwrap_or(usize::MAX) >= wanted,
        "the system allows {hard} open files, {wanted} are needed"
    );
    let raised = std::process::Command::new("prlimit")
        .arg(format!("--pid={}", std::process::id()))
        .arg(format!("--nofile={hard}:{hard}"))
        .status()
        .unwrap();
    assert!(raised.success());
}

#[tokio::test]
async fn a_thousand_idle_connections_keep_nobody_waiting() {
    allow_open_files(4_096);
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut idle = Vec::new();
    for _ in 0..1_050 {
        let mut connection = TcpStream::connect(server.addr).await.unwrap();
        connection.write_all(HTTP_2).await.unwrap();
        idle.push(connection);
    }
    // Each of them was accepted and answered with the server's settings.
    for connection in &mut idle {
        let settings = tokio::time::timeout(MEANWHILE, connection.read(&mut [0; 9])).await;
        assert!(matches!(settings.expect("its settings"), Ok(1..)));
    }
    for _ in 0..10 {
        answers(&server).await;
    }
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_there_are_places_wait() {
    let options = ServerOptions {
        max_connections: 2,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let one = server.client().await;
    let two = server.client().await;
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    // A server that has accepted says its settings first thing.
    third.write_all(HTTP_2).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), third.read(&mut [0; 9])).await;
    assert!(early.is_err(), "it waits");
    drop(one);
    let settings = tokio::time::timeout(MEANWHILE, third.read(&mut [0; 9])).await;
    assert!(matches!(settings.expect("its turn"), Ok(1..)));
    drop((two, third));
    server.stop().await;
}

#[tokio::test]
async fn statements_without_end_meet_a_limit() {
    let options = ServerOptions {
        query_timeout: Duration::from_millis(700),
        memory_bytes: 64 << 20,
        spill_bytes: 1 << 20,
        max_running: 1,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let limit = [Code::DeadlineExceeded, Code::ResourceExhausted];
    for sql in [
        "SELECT sum(value) FROM generate_series(1, 9223372036854775807)",
        "SELECT value % 1000003, array_agg(value) FROM generate_series(1, 9223372036854775807) GROUP BY 1",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT r.n + 1 FROM r, generate_series(1, 1000)) SELECT count(*) FROM r",
        "SELECT count(*) FROM generate_series(1, 300000) a, generate_series(1, 300000) b, generate_series(1, 300000) c WHERE a.value + b.value < c.value",
        "SELECT count(*) FROM generate_series(1, 100000000) WHERE regexp_like(repeat('a', 2000) || CAST(value AS VARCHAR), '(a?){50}(a|aa)*b')",
    ] {
        let started = Instant::now();
        let refused = query(&mut client, sql).await.expect_err(sql);
        assert!(limit.contains(&refused.code()), "{sql}: {refused:?}");
        // With one place in all, this one has it only once the other has really ended.
        eventually(sql, async || query(&mut client, "SELECT 1").await.is_ok()).await;
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "{sql}: {:?}",
            started.elapsed()
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn an_expression_that_would_grow_without_end_is_refused() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let sql = "SELECT regexp_like('a', '((a{1,1000}){1,1000}){1,1000}')";
    let refused = query(&mut server.client().await, sql).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_function_that_would_make_gigabytes_is_refused() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT length(repeat(repeat('x', 10000), 10000 * CAST(value AS INT))) FROM generate_series(1, 8) LIMIT 1000",
        "SELECT lpad('x', 2000000000, 'y')",
        "SELECT rpad('x', 2000000000)",
        "SELECT array_length(array_repeat('x', 1000000000))",
        "SELECT array_length(range(1000000000))",
        "SELECT array_length(generate_series(1, 4000000000, 2))",
        "SELECT array_length(generate_series(-4000000000, 1))",
        "SELECT array_length(generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-12-31', INTERVAL '1 millisecond'))",
        "SELECT array_length(array_resize([1], 1000000000))",
    ] {
        let refused = query(&mut client, sql).await.expect_err(sql);
        assert_eq!(refused.code(), Code::ResourceExhausted, "{sql}: {refused:?}");
    }
    for (sql, n) in [
        ("SELECT CAST(length(repeat('ab', 100000)) AS BIGINT)", 200_000),
        ("SELECT CAST(array_length(range(0, 1000, 7)) AS BIGINT)", 143),
        (
            "SELECT CAST(array_length(generate_series(DATE '2026-01-01', DATE '2026-12-31', INTERVAL '1 month')) AS BIGINT)",
            12,
        ),
        ("SELECT CAST(length(lpad('x', 10, 'y')) AS BIGINT)", 10),
    ] {
        assert_eq!(number(&mut client, sql).await, n, "{sql}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_statement_of_ten_megabytes_is_refused() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for sql in [
        format!("SELECT '{}'", "x".repeat(10 << 20)),
        format!("SELECT 1 IN ({})", "1,".repeat(5 << 20)),
    ] {
        let refused = query(&mut client, &sql).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().len() < 1_000);
    }
    // Above what one message may have the transport refuses.
    let refused = query(&mut client, &"x".repeat(20 << 20)).await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{refused:?}"
    );
    answers(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_table_that_is_vacuumed_or_dropped_while_it_is_read_is_told() {
    let lake = TestLake::with_bars(5).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let sql = "SELECT open, close FROM gold.ohlcv_1m WHERE trade_count >= 0";
    let pinned = describe(&mut client, sql).await.unwrap();
    let table = lake.dir.path().join("gold/ohlcv_1m");
    std::fs::remove_dir_all(table.join("date=2026-01-01")).unwrap();
    let refused = fetch(&mut client, ticket(&pinned)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert!(refused.message().contains("run the query again"), "{refused:?}");
    std::fs::remove_dir_all(&table).unwrap();
    let refused = query(&mut client, sql).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    let refused = query(&mut client, sql).await.unwrap_err();
    assert!(refused.message().contains("does not exist"), "{refused:?}");
    answers(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_table_that_is_dropped_and_made_again_is_read_as_it_is_now() {
    let lake = TestLake::with_bars(5).await;
    let options = || ServerOptions {
        idle_poll_interval: Duration::from_millis(200),
        ..Default::default()
    };
    let one = TestServer::start(open(&lake.dir), options()).await;
    let other = TestServer::start(open(&lake.dir), options()).await;
    let rows = "SELECT open, close FROM gold.ohlcv_1m WHERE trade_count >= 0";
    let count = "SELECT count(*) FROM gold.ohlcv_1m";
    let (mut reader, mut counter) = (one.client().await, other.client().await);
    assert_eq!(query(&mut reader, rows).await.unwrap().num_rows(), 15);
    assert_eq!(number(&mut counter, count).await, 15);
    let read = describe(&mut reader, rows).await.unwrap();
    let mut reading = reader.do_get(ticket(&read)).await.unwrap();

    let table = lake.dir.path().join("gold/ohlcv_1m");
    std::fs::remove_dir_all(&table).unwrap();
    let again = open(&lake.dir)
        .create_table(&TableName::gold_ohlcv("1m"))
        .await
        .unwrap();
    add(&again, "BTC-USDT", 0..2).await;
    while let Ok(Some(_)) = reading.try_next().await {}
    eventually("the new rows", async || {
        let found = query(&mut reader, rows).await;
        found.is_ok_and(|found| found.num_rows() == 2)
    })
    .await;
    // Told from statistics: no file is missed.
    eventually("the new count", async || number(&mut counter, count).await == 2).await;
    add(&again, "ETH-USDT", 0..2).await;
    eventually("what comes after", async || number(&mut counter, count).await == 4).await;
    assert_eq!(number(&mut reader, "SELECT count(*) FROM gold.latest").await, 2);

    std::fs::remove_dir_all(&table).unwrap();
    for client in [&mut reader, &mut counter] {
        eventually("it is no longer listed", async || {
            let tables = client.get_tables(CommandGetTables::default()).await.unwrap();
            fetch(client, ticket(&tables))
                .await
                .unwrap()
                .column(1)
                .as_string::<i32>()
                .iter()
                .all(|schema| schema != Some("gold"))
        })
        .await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_store_that_stalls_is_waited_for_within_bounds() {
    let store = StallingStore::new();
    let lake = store.lake();
    let bars = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    add(&bars, "BTC-USDT", 0..10).await;
    let options = || ServerOptions {
        query_timeout: Duration::from_secs(1),
        max_running: 1,
        signing_key: Some(Secret(vec![7; 32])),
        ..Default::default()
    };
    let server = TestServer::start(lake.clone(), options()).await;
    let mut client = server.client().await;
    let sql = "SELECT open FROM gold.ohlcv_1m WHERE trade_count % 2 = 1";
    assert_eq!(rows(&mut client, sql).await.num_rows(), 5);
    let pinned = describe(&mut client, sql).await.unwrap();
    // It has the ticket's version to find yet.
    let other = TestServer::start(lake, options()).await;
    let mut elsewhere = other.client().await;
    store.stall(true);
    let refused = fetch(&mut elsewhere, ticket(&pinned)).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    let started = Instant::now();
    let refused = query(&mut client, sql).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    // Its place is free again, and what needs no store is answered.
    answers(&server).await;
    let tables = client.get_tables(CommandGetTables::default()).await.unwrap();
    let refused = fetch(&mut client, ticket(&tables)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    store.stall(false);
    eventually("it is read again", async || query(&mut client, sql).await.is_ok()).await;
    eventually("and elsewhere", async || {
        fetch(&mut elsewhere, ticket(&pinned)).await.is_ok()
    })
    .await;
    other.stop().await;
    server.stop().await;
}

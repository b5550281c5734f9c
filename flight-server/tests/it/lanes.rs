//! What each lane and each reader may take: the bounds of metadata, places that are held until a result has been taken, and how soon
//! a place is free again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandGetTables;
use arrow_flight::{FlightData, FlightInfo};
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use futures::TryStreamExt;
use ticklake_flight_server::{ServerOptions, UsersFile};
use ticklake_sql::TableName;
use tonic::transport::Endpoint;
use tonic::{Code, Streaming};

use crate::fixture::*;
use crate::stalling::StallingStore;

/// More than the frames that a query may be ahead of its reader, and fewer rows than metadata may have.
const MUCH_METADATA: &str = "SELECT a.column_name, repeat('x', 200) FROM information_schema.columns a, information_schema.columns b, \
     information_schema.columns c LIMIT 90000";
const LITTLE_METADATA: &str = "SELECT count(*) FROM information_schema.tables";

/// A result that is asked for and not read: its window takes the schema and no more.
async fn unread(server: &TestServer, info: &FlightInfo) -> Streaming<FlightData> {
    let channel = Endpoint::from_shared(format!("http://{}", server.addr))
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let mut raw = FlightServiceClient::new(channel);
    raw.do_get(ticket(info)).await.unwrap().into_inner()
}

/// What the reader finds at the end, whenever it reads.
async fn end(stream: &mut Streaming<FlightData>) -> Code {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a shortened result"),
            Err(status) => return status.code(),
        }
    }
}

#[tokio::test]
async fn metadata_has_its_own_time_rows_and_memory() {
    let store = StallingStore::new();
    let lake = store.lake();
    let bars = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    add(&bars, "BTC-USDT", 0..10).await;
    let server = TestServer::start(lake, ServerOptions::default()).await;
    let mut client = server.client().await;
    let columns = ["a", "b", "c", "d", "e"].map(|name| format!("information_schema.columns {name}"));
    let rows = format!("SELECT a.column_name FROM {}", columns[..4].join(", "));
    let refused = query(&mut client, &rows).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("100000 rows"), "{refused:?}");
    let memory = format!(
        "SELECT array_length(array_agg(a.column_name)) FROM {}",
        columns.join(", ")
    );
    let refused = query(&mut client, &memory).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("33554432 bytes"), "{refused:?}");
    // Five seconds in all, however it spends them: computing, or waiting for the store while it is planned.
    let computing = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r, information_schema.tables";
    for (sql, stalled) in [(computing, false), ("SELECT * FROM system.tables", true)] {
        store.stall(stalled);
        let started = Instant::now();
        let refused = query(&mut client, sql).await.expect_err(sql);
        let took = started.elapsed();
        // The store's own five seconds may end first.
        let told = refused.code() == Code::DeadlineExceeded || stalled && refused.code() == Code::Unavailable;
        assert!(told, "{sql}: {refused:?}");
        assert!(refused.message().contains("5 s"), "{sql}: {refused:?}");
        assert!(
            took > Duration::from_millis(4_900) && took < Duration::from_secs(7),
            "{sql}: {took:?}"
        );
    }
    store.stall(false);
    server.stop().await;
}

#[tokio::test]
async fn metadata_has_four_places_and_one_user_two_of_them() {
    let lake = TestLake::with_bars(3).await;
    let path = lake.dir.path().join("users.toml");
    let mut file = UsersFile::open(&path).unwrap();
    for user in ["alice", "bob", "carol"] {
        file.add(user, "reader", Some("correct horse")).unwrap();
    }
    let options = ServerOptions {
        users_file: Some(path),
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut places = Vec::new();
    let mut clients = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let mut client = server.client().await;
        client.handshake(user, "correct horse").await.unwrap();
        clients.push(client);
    }
    let [alice, bob, carol] = &mut clients[..] else {
        panic!()
    };
    for _ in 0..2 {
        let info = describe(alice, MUCH_METADATA).await.unwrap();
        places.push(alice.do_get(ticket(&info)).await.unwrap());
    }
    let soon = Duration::from_millis(700);
    assert!(
        tokio::time::timeout(soon, query(alice, LITTLE_METADATA)).await.is_err(),
        "a third of one user waits"
    );
    assert!(number(bob, LITTLE_METADATA).await > 0);
    for _ in 0..2 {
        let info = describe(bob, MUCH_METADATA).await.unwrap();
        places.push(bob.do_get(ticket(&info)).await.unwrap());
    }
    assert!(
        tokio::time::timeout(soon, query(carol, LITTLE_METADATA)).await.is_err(),
        "a fifth waits"
    );
    // Rows of the lake have their own places.
    assert_eq!(number(carol, "SELECT count(*) FROM gold.ohlcv_1m").await, 9);
    drop(places);
    assert!(number(carol, LITTLE_METADATA).await > 0);
    server.stop().await;
}

#[tokio::test]
async fn a_small_result_that_nobody_takes_holds_its_place_and_is_cut_off() {
    let small = "SELECT repeat('x', 1500000 + CAST(value AS INT)) FROM generate_series(1, 3)";
    for (query_timeout, reader_timeout, code) in [
        (
            Duration::from_secs(60),
            Duration::from_millis(1_000),
            Code::ResourceExhausted,
        ),
        (
            Duration::from_millis(1_000),
            Duration::from_secs(60),
            Code::DeadlineExceeded,
        ),
    ] {
        let options = ServerOptions {
            query_timeout,
            reader_timeout,
            max_running: 1,
            max_queued: 0,
            ..Default::default()
        };
        let server = TestLake::empty().serve(options).await;
        let mut other = server.client().await;
        let info = describe(&mut other, small).await.unwrap();
        let started = Instant::now();
        let mut stream = unread(&server, &info).await;
        // All of it is computed, none of it is taken.
        let computed = "SELECT count(*) FROM system.queries WHERE state = 'running' AND rows = 3";
        eventually("it is computed", async || number(&mut other, computed).await == 1).await;
        let refused = query(&mut other, "SELECT 1").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        eventually("it is cut off", async || server.count("open_streams") == 0).await;
        assert_eq!(number(&mut other, "SELECT 1").await, 1);
        let took = started.elapsed();
        assert!(
            took > Duration::from_millis(900) && took < Duration::from_secs(3),
            "{took:?}"
        );
        assert_eq!(end(&mut stream).await, code);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_slot_within_a_second() {
    let options = ServerOptions {
        max_running: 1,
        memory_bytes: 128 << 20,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let long = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";
    let join = "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value % 2 = b.value % 2 AND a.value + b.value < 0";
    let semi = "SELECT count(*) FROM generate_series(1, 1000000) a LEFT SEMI JOIN generate_series(1, 1000000) b ON a.value % 2 = b.value % 2";
    let aggregate = "SELECT value % 1000, count(*), max(value * 7) FROM generate_series(1, 1000000000) GROUP BY 1";
    let sort = "SELECT value FROM generate_series(1, 1000000000) ORDER BY value % 1000";
    let mut other = server.client().await;
    for sql in [long, join, semi, aggregate, sort] {
        let mut client = server.client().await;
        let info = describe(&mut client, sql).await.unwrap();
        let mut stream = client.do_get(ticket(&info)).await.unwrap();
        let taken = tokio::spawn(async move {
            let _client = client;
            while stream.try_next().await.unwrap().is_some() {}
        });
        let running = "SELECT count(*) FROM system.queries WHERE state = 'running' AND execute_ms > 200 AND sql NOT LIKE '%system.%'";
        eventually("it computes", async || number(&mut other, running).await == 1).await;
        taken.abort();
        let gone = Instant::now();
        assert_eq!(number(&mut other, "SELECT 1").await, 1);
        assert!(gone.elapsed() < Duration::from_secs(1), "{sql}: {:?}", gone.elapsed());
    }
    // One that waits leaves no trace in the queue, and one that is planned leaves its place.
    let mut holder = server.client().await;
    let info = describe(&mut holder, long).await.unwrap();
    let held = holder.do_get(ticket(&info)).await.unwrap();
    let mut waiting = server.client().await;
    let waits = tokio::spawn(async move { query(&mut waiting, "SELECT 2").await });
    eventually("it waits", async || server.count("queued") == 1).await;
    waits.abort();
    let gone = Instant::now();
    eventually("nobody waits", async || server.count("queued") == 0).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    drop((held, holder));
    assert_eq!(number(&mut other, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn one_that_goes_away_while_it_is_planned_frees_its_place_within_a_second() {
    let store = StallingStore::new();
    let lake = store.lake();
    let bars = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    add(&bars, "BTC-USDT", 0..10).await;
    let options = ServerOptions {
        max_running: 1,
        ..Default::default()
    };
    let server = TestServer::start(lake, options).await;
    store.stall(true);
    let mut client = server.client().await;
    let planned = tokio::spawn(async move { query(&mut client, "SELECT * FROM gold.ohlcv_1m").await });
    let mut other = server.client().await;
    eventually("it is planned", async || {
        let soon = Duration::from_millis(50);
        tokio::time::timeout(soon, query(&mut other, "SELECT 1")).await.is_err()
    })
    .await;
    planned.abort();
    let gone = Instant::now();
    assert_eq!(number(&mut other, "SELECT 1").await, 1);
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    store.stall(false);
    server.stop().await;
}

#[tokio::test]
async fn patterns_of_catalog_calls_are_short() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for pattern in ["%a".repeat(1 << 20), "%".repeat(1 << 10)] {
        let by_table = CommandGetTables {
            table_name_filter_pattern: Some(pattern.clone()),
            ..Default::default()
        };
        let by_schema = CommandGetTables {
            db_schema_filter_pattern: Some(pattern.clone()),
            ..Default::default()
        };
        let schemas = arrow_flight::sql::CommandGetDbSchemas {
            catalog: None,
            db_schema_filter_pattern: Some(pattern),
        };
        for command in [by_table, by_schema] {
            let refused = client.get_tables(command).await.map_err(status_of).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
        let refused = client.get_db_schemas(schemas).await.map_err(status_of).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    let tables = client
        .get_tables(CommandGetTables {
            table_name_filter_pattern: Some("%ohlcv%".into()),
            ..Default::default()
        })
        .await
        .unwrap();
    let found = fetch(&mut client, ticket(&tables)).await.unwrap();
    assert!(
        found
            .column(2)
            .as_string::<i32>()
            .iter()
            .flatten()
            .any(|name| name == "ohlcv_1m")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_may_ask_for_less_time() {
    let server = TestLake::empty().serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    client.set_header("grpc-timeout", "700m");
    let long = "SELECT sum(value % 7) FROM generate_series(1, 9223372036854775807)";
    let started = Instant::now();
    let refused = query(&mut client, long).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(refused.message().contains("700 ms"), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn rows_of_values_share_one_deadline_and_one_cap() {
    let options = ServerOptions {
        max_rows: 1_000,
        query_timeout: Duration::from_secs(3),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut client = server.client().await;
    let bound = |n: i64, rows: usize| {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![n; rows]));
        RecordBatch::try_from_iter([("n", values)]).unwrap()
    };
    // 400 rows each: within the cap twice, not three times.
    let sql = "SELECT value + ? * 0 FROM generate_series(1, 400)";
    for (times, refused) in [(2, false), (3, true)] {
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
        prepared.set_parameters(bound(1, times)).unwrap();
        let info = prepared.execute().await.unwrap();
        let fetched = fetch(&mut client, ticket(&info)).await;
        match refused {
            false => assert_eq!(fetched.unwrap().num_rows(), 400 * times),
            true => assert_eq!(fetched.unwrap_err().code(), Code::ResourceExhausted),
        }
    }
    // A second or so each: within the time once, not all of them.
    let slow = "SELECT sum(value % 7) + ? * 0 FROM generate_series(1, 100000000)";
    let mut prepared = client.prepare(slow.to_owned(), None).await.unwrap();
    prepared.set_parameters(bound(1, 1_000)).unwrap();
    let info = prepared.execute().await.unwrap();
    let started = Instant::now();
    let refused = fetch(&mut client, ticket(&info)).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_sort_above_the_pool_is_done_by_way_of_the_disk() {
    let lake = TestLake::empty();
    let options = ServerOptions {
        memory_bytes: 48 << 20,
        query_threads: 1,
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    // 3,000,000 rows of 100 bytes and more: six times the pool.
    let sql = "SELECT CAST(sum(CASE WHEN value = rank THEN 1 ELSE 0 END) AS BIGINT) FROM (SELECT value, row_number() OVER (ORDER BY wide) AS rank FROM \
               (SELECT value, repeat('x', 92) || lpad(CAST(value AS VARCHAR), 8, '0') AS wide FROM generate_series(1, 3000000)))";
    assert_eq!(number(&mut client, sql).await, 3_000_000);
    let spilled = "SELECT count(*) FROM system.queries WHERE sql LIKE '%row_number%' AND sql NOT LIKE '%system.%' AND peak_memory_bytes < 50331648 AND outcome = 'ok'";
    assert_eq!(number(&mut client, spilled).await, 1);
    server.stop().await;
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn statements_that_wait_are_not_kept_as_trees() {
    const WAITING: i64 = 8;
    let options = ServerOptions {
        max_running: 1,
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    let mut holder = server.client().await;
    let long = "SELECT value, repeat('x', 100) FROM generate_series(1, 100000000)";
    let info = describe(&mut holder, long).await.unwrap();
    let held = holder.do_get(ticket(&info)).await.unwrap();
    let before = resident_bytes();
    let mut waiting = Vec::new();
    for i in 0..WAITING {
        let mut client = server.client().await;
        // Less than half a megabyte of text, and some sixty of tree.
        let sql = format!("SELECT {i} IN ({}1)", "1,".repeat(200_000));
        waiting.push(tokio::spawn(async move { describe(&mut client, &sql).await }));
    }
    eventually("all of them wait", async || server.count("queued") == WAITING).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 250 << 20, "{grown}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop((held, holder));
    server.stop().await;
}

//! Snapshots: a ticket reads the versions that it was made for, a new query the newest ones.

use std::time::Duration;

use ticklake_flight_server::ServerOptions;
use ticklake_sql::TableName;

use crate::fixture::*;
use crate::stalling::StallingStore;

const COUNT: &str = "SELECT count(*) AS n, max(window_start) AS newest FROM gold.ohlcv_1m";

fn versions(info: &arrow_flight::FlightInfo) -> serde_json::Value {
    serde_json::from_slice(&info.app_metadata).unwrap()
}

fn count(rows: &datafusion::arrow::array::RecordBatch) -> i64 {
    use datafusion::arrow::array::AsArray;
    rows.column(0)
        .as_primitive::<datafusion::arrow::datatypes::Int64Type>()
        .value(0)
}

#[tokio::test]
async fn a_ticket_is_pinned_and_a_commit_is_seen() {
    let lake = TestLake::with_bars(5).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let before = describe(&mut client, COUNT).await.unwrap();
    assert_eq!(versions(&before)["versions"]["gold.ohlcv_1m"], 3);
    assert!(versions(&before)["age_ms"]["gold.ohlcv_1m"].as_i64().unwrap() < 60_000);

    lake.add_bars("BTC-USDT", 5..7).await;
    eventually("the commit is seen", async || {
        let info = describe(&mut client, COUNT).await.unwrap();
        count(&fetch(&mut client, ticket(&info)).await.unwrap()) == 17
    })
    .await;
    assert_eq!(count(&fetch(&mut client, ticket(&before)).await.unwrap()), 15);

    // Another replica has neither the plan nor the version in memory.
    let key = ticklake_flight_server::Secret(vec![7; 32]);
    let options = || ServerOptions {
        signing_key: Some(key.clone()),
        ..Default::default()
    };
    let (one, other) = (
        lake.serve(options()).await,
        TestServer::start(open(&lake.dir), options()).await,
    );
    let info = describe(&mut one.client().await, COUNT).await.unwrap();
    lake.add_bars("BTC-USDT", 7..8).await;
    assert_eq!(
        count(&fetch(&mut other.client().await, ticket(&info)).await.unwrap()),
        17
    );
    for server in [server, one, other] {
        server.stop().await;
    }
}

#[tokio::test]
async fn versions_and_times_are_told_with_the_result() {
    let lake = TestLake::with_bars(2).await;
    let server = lake.serve(ServerOptions::default()).await;
    let info = describe(&mut server.client().await, COUNT).await.unwrap();
    let mut raw = arrow_flight::flight_service_client::FlightServiceClient::new(server.channel().await);
    let response = raw.do_get(ticket(&info)).await.unwrap();
    let told = response
        .metadata()
        .get("x-ticklake-versions")
        .unwrap()
        .to_str()
        .unwrap();
    assert_eq!(told, r#"{"gold.ohlcv_1m":3}"#);
    let age = response.metadata().get("x-ticklake-age-ms").unwrap().to_str().unwrap();
    assert!(age.starts_with(r#"{"gold.ohlcv_1m":"#), "{age}");
    let mut frames = response.into_inner();
    while frames.message().await.unwrap().is_some() {}
    let trailers = frames.trailers().await.unwrap().unwrap();
    for name in ["x-ticklake-queue-ms", "x-ticklake-plan-ms", "x-ticklake-execute-ms"] {
        let ms: u64 = trailers.get(name).expect(name).to_str().unwrap().parse().unwrap();
        assert!(ms < 60_000, "{name}: {ms}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_commit_of_another_process_is_seen_within_moments() {
    let lake = TestLake::with_bars(5).await;
    let server = TestServer::start(open(&lake.dir), ServerOptions::default()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, COUNT).await, 15);
    lake.add_bars("BTC-USDT", 5..6).await;
    eventually("the commit is seen", async || number(&mut client, COUNT).await == 16).await;
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_followed_shows_in_the_status() {
    let lake = TestLake::with_bars(3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let before = number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await;
    let next = lake.bars().await.latest_version(None).await.unwrap() + 1;
    let entry = lake
        .dir
        .path()
        .join(format!("gold/ohlcv_1m/_delta_log/{next:020}.json"));
    std::fs::write(&entry, "{\"torn").unwrap();
    eventually("it is told", async || {
        let status = server.status.snapshot();
        let told = status["last_error"]["message"].as_str().unwrap_or_default();
        told.contains("gold.ohlcv_1m") && status["errors"] == 0
    })
    .await;
    std::fs::remove_file(&entry).unwrap();
    lake.add_bars("BTC-USDT", 3..4).await;
    eventually("it follows again", async || {
        number(&mut client, "SELECT count(*) FROM gold.ohlcv_1m").await == before + 1
    })
    .await;
    server.stop().await;
}

/// Looks for commits often while there are queries, and not at all once there were none for a while.
fn soon_idle() -> ServerOptions {
    ServerOptions {
        active_for: Duration::from_millis(600),
        idle_poll_interval: Duration::from_secs(3_600),
        ..Default::default()
    }
}

async fn is_idle(server: &TestServer) {
    eventually("no more looks", async || {
        let before = server.count("store_probes");
        tokio::time::sleep(Duration::from_millis(400)).await;
        server.count("store_probes") == before
    })
    .await;
}

#[tokio::test]
async fn an_idle_server_looks_before_it_answers() {
    let lake = TestLake::with_bars(5).await;
    let server = TestServer::start(open(&lake.dir), soon_idle()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, COUNT).await, 15);
    is_idle(&server).await;
    lake.add_bars("BTC-USDT", 5..6).await;
    let before = server.count("store_probes");
    // Only the look that the query asks for can find the commit.
    assert_eq!(number(&mut client, COUNT).await, 16);
    assert!(server.count("store_probes") > before);
    server.stop().await;
}

#[tokio::test]
async fn commits_are_looked_for_while_there_are_queries() {
    let lake = TestLake::with_bars(5).await;
    let server = TestServer::start(open(&lake.dir), soon_idle()).await;
    let mut client = server.client().await;
    assert_eq!(number(&mut client, COUNT).await, 15);
    let before = server.count("store_probes");
    // Without a query in between: within moments by looks of its own, every tenth of a second.
    lake.add_bars("BTC-USDT", 5..6).await;
    eventually("looks of its own", async || server.count("store_probes") >= before + 3).await;
    is_idle(&server).await;
    assert!(server.count("store_probes") - before < 30);
    server.stop().await;
}

#[tokio::test]
async fn a_look_that_takes_long_is_not_waited_for() {
    let store = StallingStore::new();
    let lake = store.lake();
    let bars = lake.create_table(&TableName::gold_ohlcv("1m")).await.unwrap();
    add(&bars, "BTC-USDT", 0..10).await;
    let server = TestServer::start(lake, soon_idle()).await;
    let mut client = server.client().await;
    let count = "SELECT count(*) FROM gold.ohlcv_1m";
    assert_eq!(number(&mut client, count).await, 10);
    is_idle(&server).await;
    store.stall(true);
    let began = std::time::Instant::now();
    // Told from statistics, so that nothing but the look needs the store.
    assert_eq!(number(&mut client, count).await, 10);
    // Two looks, of GetFlightInfo and of DoGet, 200 ms each, and what a busy machine adds.
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(150) && took < Duration::from_secs(3),
        "{took:?}"
    );
    store.stall(false);
    server.stop().await;
}

#[tokio::test]
async fn rewritten_files_show_the_same_rows() {
    let lake = TestLake::with_bars(5).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let pinned = describe(&mut client, COUNT).await.unwrap();
    compact(&lake).await;
    eventually("the compacted version is read", async || {
        let info = describe(&mut client, COUNT).await.unwrap();
        assert_eq!(count(&fetch(&mut client, ticket(&info)).await.unwrap()), 15);
        versions(&info)["versions"]["gold.ohlcv_1m"] == 4
    })
    .await;
    assert_eq!(count(&fetch(&mut client, ticket(&pinned)).await.unwrap()), 15);
    server.stop().await;
}

/// All files of the table become one, in one commit.
async fn compact(lake: &TestLake) {
    use ticklake_sql::commit::{Commit, Committer, removal};
    let table = lake.lake.table(&TableName::gold_ohlcv("1m")).await.unwrap();
    let schema = table.spec().file_schema();
    let batches = ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
        .map(|s| rows_of(&schema, s, 0..5))
        .to_vec();
    let partition = [("date".to_owned(), "2026-01-01".to_owned())].into();
    let mut add = ticklake_sql::data_file::write(&table, partition, batches, Default::default())
        .await
        .unwrap();
    add.data_change = false;
    let mut removes = Vec::new();
    for version in 1..=3 {
        let entry = ticklake_sql::log::read(&table, version).await.unwrap().unwrap();
        removes.extend(entry.adds.iter().map(|add| removal(add, now(), false)));
    }
    let txns = vec![ticklake_sql::commit::Txn {
        app_id: "ticklake/gold.ohlcv_1m/writer".into(),
        version: 1,
    }];
    let commit = Commit {
        operation: "OPTIMIZE".into(),
        adds: vec![add],
        removes,
        txns,
        ..Default::default()
    };
    Committer::open(&table).await.unwrap().commit(commit).await.unwrap();
}

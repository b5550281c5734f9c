//! `gold.latest`: always what a query over the bars finds, at the ticket's version.

use datafusion::arrow::array::AsArray;
use ticklake_flight_server::{Secret, ServerOptions};
use ticklake_sql::commit::{Commit, Committer, Txn, removal};
use tonic::Code;

use crate::fixture::*;

const LATEST: &str = "SELECT venue, symbol, window_start, close, last_price FROM gold.latest ORDER BY venue, symbol";
const SEARCHED: &str = "SELECT venue, symbol, window_start, close, close AS last_price FROM (
    SELECT *, row_number() OVER (PARTITION BY venue, symbol ORDER BY window_start DESC) AS place FROM gold.ohlcv_1m
) WHERE place = 1 ORDER BY venue, symbol";
const COUNT: &str = "SELECT count(*) FROM gold.ohlcv_1m";

/// Waits for `bars`, then holds the one against the other.
async fn check(client: &mut Client, bars: i64, symbols: usize) {
    eventually("the commit is seen", async || number(client, COUNT).await == bars).await;
    let latest = rows(client, LATEST).await;
    assert_eq!(latest.num_rows(), symbols);
    assert_eq!(latest, rows(client, SEARCHED).await);
}

/// Takes out the files that commit `version` added, and puts `minutes` of `symbol` in their place.
async fn replace(lake: &TestLake, version: u64, symbol: &str, minutes: std::ops::Range<i64>) -> u64 {
    let table = lake.bars().await;
    let entry = ticklake_sql::log::read(&table, version).await.unwrap().unwrap();
    let removes = entry.adds.iter().map(|add| removal(add, now(), true)).collect();
    let txns = vec![Txn {
        app_id: "ticklake/gold.ohlcv_1m/writer".into(),
        version: version as i64,
    }];
    let commit = Commit {
        operation: "REFRESH".into(),
        removes,
        txns,
        ..Default::default()
    };
    Committer::open(&table).await.unwrap().commit(commit).await.unwrap();
    if minutes.is_empty() {
        return version + 1;
    }
    lake.add_bars(symbol, minutes).await
}

#[tokio::test]
async fn the_newest_bar_of_each_symbol_is_kept_through_commits() {
    let lake = TestLake::with_bars(30).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    check(&mut client, 90, 3).await;
    // A newer bar, a late one, a new symbol.
    let newer = lake.add_bars("BTC-USDT", 30..32).await;
    check(&mut client, 92, 3).await;
    lake.add_bars("ETH-USDT", 40..41).await;
    lake.add_bars("SOL-USDT", 30..31).await;
    lake.add_bars("XRP-USDT", 5..6).await;
    check(&mut client, 95, 4).await;
    // The newest bars go, as after a cancelled trade: the one before is the newest again.
    replace(&lake, newer, "BTC-USDT", 0..0).await;
    check(&mut client, 93, 4).await;
    // Others come in their place.
    let replaced = replace(&lake, newer + 1, "ETH-USDT", 33..36).await;
    check(&mut client, 95, 4).await;
    replace(&lake, replaced, "ETH-USDT", 33..37).await;
    check(&mut client, 96, 4).await;
    // What has not traded for seven days is left out.
    let week = 7 * 24 * 60;
    lake.add_bars("BTC-USDT", week + 6..week + 7).await;
    eventually("the commit is seen", async || number(&mut client, COUNT).await == 97).await;
    let symbols = rows(&mut client, LATEST).await;
    let symbols: Vec<_> = symbols.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(symbols, ["BTC-USDT", "ETH-USDT", "SOL-USDT"]);
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_s_version_says_what_it_holds() {
    let lake = TestLake::with_bars(10).await;
    let options = || ServerOptions {
        signing_key: Some(Secret(vec![7; 32])),
        ..Default::default()
    };
    let server = lake.serve(options()).await;
    let mut client = server.client().await;
    let sql = "SELECT max(window_start) FROM gold.latest WHERE symbol = 'BTC-USDT'";
    let before = describe(&mut client, sql).await.unwrap();
    let expected = rows(&mut client, sql).await;
    lake.add_bars("BTC-USDT", 10..12).await;
    eventually("the commit is seen", async || rows(&mut client, sql).await != expected).await;
    assert_eq!(fetch(&mut client, ticket(&before)).await.unwrap(), expected);
    // Another replica has neither the plan nor the rows in memory.
    let other = TestServer::start(open(&lake.dir), options()).await;
    let mut elsewhere = other.client().await;
    assert_ne!(rows(&mut elsewhere, sql).await, expected);
    assert_eq!(fetch(&mut elsewhere, ticket(&before)).await.unwrap(), expected);
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn it_is_a_table_like_any_other() {
    let lake = TestLake::empty();
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let refused = query(&mut client, "SELECT * FROM gold.latest").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    lake.add_bars("BTC-USDT", 0..2).await;
    eventually("the table is there", async || {
        query(&mut client, "SELECT * FROM latest").await.is_ok()
    })
    .await;
    let listed = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'gold' AND table_name = 'latest' AND column_name = 'last_price'";
    eventually("it is listed", async || number(&mut client, listed).await == 1).await;
    let joined = "SELECT count(*) FROM gold.latest l, ticklake.gold.ohlcv_1m b, ohlcv_1m c
        WHERE l.symbol = b.symbol AND l.window_start = b.window_start AND l.symbol = c.symbol";
    assert_eq!(number(&mut client, joined).await, 2);
    assert!(
        query(&mut client, "SELECT * FROM table_at('gold.latest', 1)")
            .await
            .is_err()
    );
    server.stop().await;
}

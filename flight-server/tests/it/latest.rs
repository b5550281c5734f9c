//! `gold.latest`: always what a query over the bars finds, at the ticket's version.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::Int64Type;
use ticklake_flight_server::{Secret, ServerOptions};
use ticklake_sql::TableName;
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
    // A symbol stays, however long it has been silent: here and in a server that has read nothing yet.
    let year = 365 * 24 * 60;
    lake.add_bars("BTC-USDT", year..year + 1).await;
    check(&mut client, 97, 4).await;
    let other = TestServer::start(open(&lake.dir), ServerOptions::default()).await;
    check(&mut other.client().await, 97, 4).await;
    other.stop().await;
    server.stop().await;
}

const TRADES: &str =
    "SELECT symbol, last_ts, last_seq, last_price, last_qty, last_side, last_trade_id FROM gold.latest ORDER BY symbol";
const LAST_TRADES: &str = "SELECT symbol, ts AS last_ts, seq AS last_seq, price AS last_price, qty AS last_qty, side AS last_side, trade_id AS last_trade_id
    FROM (SELECT *, row_number() OVER (PARTITION BY venue, symbol ORDER BY ts DESC, seq DESC, trade_id DESC) AS place FROM silver.trades)
    WHERE place = 1 ORDER BY symbol";

/// Waits until `symbol` ends with trade `id`, then holds all columns of all last trades against silver's.
async fn check_trades(client: &mut Client, symbol: &str, id: &str) {
    let ended = format!("SELECT count(*) FROM gold.latest WHERE symbol = '{symbol}' AND last_trade_id = '{id}'");
    eventually("the trade is seen", async || number(client, &ended).await == 1).await;
    assert_eq!(
        values(&rows(client, TRADES).await),
        values(&rows(client, LAST_TRADES).await)
    );
}

/// Without the schema: columns of the one may be NULL, those of the other not.
fn values(rows: &RecordBatch) -> Vec<ArrayRef> {
    rows.columns().to_vec()
}

#[tokio::test]
async fn each_bar_comes_with_the_trade_that_it_ends_with() {
    let lake = TestLake::with_bars(10).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    // Without silver the price is the bar's.
    let without = rows(&mut client, TRADES).await;
    assert_eq!(without.num_rows(), 3);
    assert_eq!((without.column(3).null_count(), without.column(6).null_count()), (0, 3));
    for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT"] {
        lake.add_trades(symbol, 0..10).await;
    }
    // Trades that were not there yet are found when they are.
    check_trades(&mut client, "SOL-USDT", "SOL-USDT-9").await;
    for newest in 10..13 {
        lake.add_trades("BTC-USDT", newest..newest + 1).await;
        lake.add_bars("BTC-USDT", newest..newest + 1).await;
        check_trades(&mut client, "BTC-USDT", &format!("BTC-USDT-{newest}")).await;
    }
    // A trade that no bar counts yet is not shown: bar and trade are of one state.
    lake.add_trades("ETH-USDT", 10..11).await;
    let ended = "SELECT last_trade_id FROM gold.latest WHERE symbol = 'ETH-USDT'";
    let seen = "SELECT count(*) FROM silver.trades";
    eventually("the trade is seen", async || number(&mut client, seen).await == 34).await;
    let ids = rows(&mut client, ended).await;
    assert_eq!(ids.column(0).as_string::<i32>().value(0), "ETH-USDT-9");
    lake.add_bars("ETH-USDT", 10..11).await;
    check_trades(&mut client, "ETH-USDT", "ETH-USDT-10").await;
    let other = TestServer::start(open(&lake.dir), ServerOptions::default()).await;
    check_trades(&mut other.client().await, "ETH-USDT", "ETH-USDT-10").await;
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn trades_are_looked_for_no_earlier_than_their_bars() {
    let lake = TestLake::with_bars(10).await;
    for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT"] {
        lake.add_trades(symbol, 0..10).await;
    }
    // Polls never: it sees its own process's commits, and what it looks for.
    let never = Duration::from_secs(3_600);
    let options = ServerOptions {
        poll_interval: never,
        idle_poll_interval: never,
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut client = server.client().await;
    check_trades(&mut client, "BTC-USDT", "BTC-USDT-9").await;
    let elsewhere = open(&lake.dir).table(&TableName::silver_trades()).await.unwrap();
    add(&elsewhere, "BTC-USDT", 10..11).await;
    lake.add_bars("BTC-USDT", 10..11).await;
    check_trades(&mut client, "BTC-USDT", "BTC-USDT-10").await;
    server.stop().await;
}

#[tokio::test]
async fn a_bar_that_was_computed_again_is_shown_as_it_is_now() {
    let lake = TestLake::with_bars(10).await;
    for symbol in ["BTC-USDT", "ETH-USDT", "SOL-USDT"] {
        lake.add_trades(symbol, 0..10).await;
    }
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    check(&mut client, 30, 3).await;
    // Its trade is known: no look for that one shows the bar anew.
    check_trades(&mut client, "BTC-USDT", "BTC-USDT-9").await;
    // The others' newest bars are not of the file's time: it is not the loss of theirs that has all of it read anew.
    for symbol in ["ETH-USDT", "SOL-USDT"] {
        lake.add_trades(symbol, 10..11).await;
        lake.add_bars(symbol, 10..11).await;
        check_trades(&mut client, symbol, &format!("{symbol}-10")).await;
    }
    // The file of BTC's bars once more, in one commit: the same windows, other prices.
    let table = lake.bars().await;
    let before = ticklake_sql::log::read(&table, 1).await.unwrap().unwrap();
    let again = rows_of(&table.spec().file_schema(), "BTC-USDT", 0..10);
    let other = rows_of(&table.spec().file_schema(), "BTC-USDT", 50..60);
    let higher = datafusion::arrow::compute::kernels::numeric::add(
        again.column_by_name("revision").unwrap(),
        &Int64Array::new_scalar(100),
    );
    let again = with_column(&again, "revision", higher.unwrap());
    let again = with_column(&again, "close", other["close"].clone());
    let partition = [("date".to_owned(), "2026-01-01".to_owned())].into();
    let add = ticklake_sql::data_file::write(&table, partition, vec![again], Default::default());
    let commit = Commit {
        operation: "REFRESH".into(),
        removes: before.adds.iter().map(|add| removal(add, now(), true)).collect(),
        adds: vec![add.await.unwrap()],
        txns: vec![Txn {
            app_id: "ticklake/gold.ohlcv_1m/writer".into(),
            version: 3,
        }],
        ..Default::default()
    };
    Committer::open(&table).await.unwrap().commit(commit).await.unwrap();
    let seen = "SELECT count(*) FROM gold.ohlcv_1m WHERE revision >= 100";
    eventually("the commit is seen", async || number(&mut client, seen).await == 10).await;
    let shown = "SELECT count(*) FROM gold.latest WHERE symbol = 'BTC-USDT' AND revision >= 100";
    assert_eq!(number(&mut client, shown).await, 1);
    server.stop().await;
}

/// `rows` with `values` in the place of text column `name`.
fn with_text(rows: &RecordBatch, name: &str, values: &[&str]) -> RecordBatch {
    with_column(rows, name, Arc::new(StringArray::from(values.to_vec())))
}

fn with_column(rows: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of(name).unwrap()] = values;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

#[tokio::test]
async fn what_corrects_a_trade_is_shown_and_what_is_cancelled_is_not() {
    let lake = TestLake::with_bars(10).await;
    let trades = lake.trades().await;
    let schema = trades.spec().file_schema();
    // Two trades end BTC's bar; the one with the greater id was cancelled. ETH's was corrected twice.
    add_batch(&trades, rows_of(&schema, "BTC-USDT", 9..10)).await;
    let twin = with_text(&rows_of(&schema, "BTC-USDT", 9..10), "trade_id", &["BTC-USDT-9x"]);
    add_batch(&trades, twin).await;
    add_batch(&trades, rows_of(&schema, "ETH-USDT", 9..10)).await;
    let cancel = with_text(&rows_of(&schema, "BTC-USDT", 20..21), "kind", &["cancel"]);
    add_batch(&trades, with_text(&cancel, "ref_trade_id", &["BTC-USDT-9x"])).await;
    let correct = with_text(&rows_of(&schema, "ETH-USDT", 30..32), "kind", &["correct", "correct"]);
    add_batch(&trades, with_text(&correct, "ref_trade_id", &["ETH-USDT-9"; 2])).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let shown = rows(&mut client, "SELECT last_trade_id, CAST(floor(last_qty) AS BIGINT), CAST(floor(last_price) AS BIGINT) FROM gold.latest ORDER BY symbol").await;
    let ids: Vec<_> = shown.column(0).as_string::<i32>().iter().collect();
    assert_eq!(ids, [Some("BTC-USDT-9"), Some("ETH-USDT-9"), None]);
    let whole = |column: usize| {
        shown
            .column(column)
            .as_primitive::<Int64Type>()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(whole(1), [Some(109), Some(131), None]);
    assert_eq!(whole(2), [Some(109), Some(131), Some(109)]);
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

//! A store that refuses writes, or lands them and loses the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use rdkafka::producer::Producer;
use ticklake_ingest::bronze::{BronzeOptions, BronzeReport};
use ticklake_sql::TableName;

use crate::support::flaky_store::FlakyStore;
use crate::support::{
    DEADLINE, Running, assert_trades_once, held, options, producer, send, send_trades, trade, unique,
};
use crate::topics::{brokers, create};

#[tokio::test(flavor = "multi_thread")]
async fn refused_writes_are_retried_and_visible_until_the_store_recovers() {
    let topic = &unique("refused");
    create(topic, 2, &[]).await;
    let brokers = brokers();
    let store = Arc::<FlakyStore>::default();
    let lake = store.lake();
    let running = Running::start(&options(&brokers, topic), &lake);
    send_trades(&brokers, topic, 2, 0..1000);
    running.until_recorded(1000).await;
    store.refuse.store(true, Ordering::SeqCst);
    send_trades(&brokers, topic, 2, 1000..2000);
    running
        .until("the trouble shows", |status| {
            status["trouble"]
                .as_str()
                .is_some_and(|text| text.contains("writes are refused"))
        })
        .await;
    running
        .until("it tries again", |status| status["retries"].as_u64().unwrap() >= 3)
        .await;
    assert!(!running.is_finished());
    assert_eq!(running.status.snapshot()["records"], 1000);
    store.refuse.store(false, Ordering::SeqCst);
    running.until_recorded(2000).await;
    running
        .until("the trouble is over", |status| status["trouble"].is_null())
        .await;
    running.stop().await;
    assert_trades_once(&lake, 0..2000).await;
}

/// Five flushes of 100 trades and a dead letter, each after `fault`. However their commits fared, the tables hold every record once, and positions
/// and counters moved by exactly these records.
async fn run_through(name: &str, fault: impl Fn(&FlakyStore)) -> (Arc<FlakyStore>, BronzeReport, u64) {
    const RECORDS: u64 = 5 * 101;
    let topic = &unique(name);
    create(topic, 2, &[]).await;
    let store = Arc::<FlakyStore>::default();
    let lake = store.lake();
    let running = Running::start(&options(&brokers(), topic), &lake);
    running.until("it runs", |status| status["state"] == "running").await;
    let producer = producer(&brokers(), &[]);
    for step in 0..5u64 {
        fault(&store);
        for seq in step * 100..(step + 1) * 100 {
            send(&producer, topic, (seq % 2) as i32, Some(trade(seq).as_bytes()));
        }
        send(&producer, topic, 0, Some(b"no trade"));
        producer.flush(DEADLINE).unwrap();
        running.until_recorded((step + 1) * 101).await;
    }
    let retries = running.status.snapshot()["retries"].as_u64().unwrap();
    let report = running.stop().await;
    assert_trades_once(&lake, 0..500).await;
    let dead = held(&lake, &TableName::bronze_dead_letters()).await;
    assert_eq!((dead.rows(), dead.doubles()), (5, 0));
    assert_eq!((report.records, report.rows, report.dead_letters), (RECORDS, 500, 5));
    let trades = lake.table(&TableName::bronze_trades()).await.unwrap();
    let (_, recorded) = trades.positions().await.unwrap();
    let offsets = recorded.iter().filter(|(app_id, _)| app_id.contains("/kafka/"));
    assert_eq!(offsets.map(|(_, offset)| *offset).sum::<i64>(), RECORDS as i64);
    (store, report, retries)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_did_not_land_is_tried_again_with_the_same_files() {
    // Of the side table's commit and of the main one's, the first try is refused.
    let refuse = |store: &FlakyStore| store.refuse_every_second_commit.store(4, Ordering::SeqCst);
    let (store, report, retries) = run_through("not-landed", refuse).await;
    assert!(retries >= 8, "commits were not refused: {retries} retries");
    let written = store.list(Some(&"lake/bronze/trades".into())).collect::<Vec<_>>().await;
    let files = written
        .iter()
        .filter(|file| file.as_ref().unwrap().location.as_ref().ends_with(".parquet"));
    assert_eq!(files.count() as u64, report.files, "no file was written twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_landed_and_not_repeated() {
    let lose = |store: &FlakyStore| store.lose_answers.store(2, Ordering::SeqCst);
    let (store, ..) = run_through("lost", lose).await;
    assert!(store.lost.load(Ordering::SeqCst) >= 8, "answers were not lost");
}

/// A first start on an empty topic whose commit of starts meets `fault`. Returns how many commits the main table then has, and how often one was
/// tried again; both partitions' starts stand in it.
async fn start_through(name: &str, fault: impl Fn(&FlakyStore)) -> (u64, u64) {
    let topic = &unique(name);
    create(topic, 2, &[]).await;
    let store = Arc::<FlakyStore>::default();
    let lake = store.lake();
    // The tables are there before the faults begin.
    let trades = lake.create_table(&TableName::bronze_trades()).await.unwrap();
    lake.create_table(&TableName::bronze_dead_letters()).await.unwrap();
    fault(&store);
    let running = Running::start(&options(&brokers(), topic), &lake);
    running.until("it reads", |status| status["state"] == "running").await;
    let (version, recorded) = trades.positions().await.unwrap();
    let starts = recorded.iter().filter(|(app_id, _)| app_id.contains("/kafka/"));
    assert_eq!(starts.count(), 2, "read before the starts are recorded: {recorded:?}");
    let retries = running.status.snapshot()["retries"].as_u64().unwrap();
    running.stop().await;
    (version, retries)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_before_the_starts_are_recorded() {
    let refuse = |store: &FlakyStore| store.refuse_every_second_commit.store(2, Ordering::SeqCst);
    assert_eq!(start_through("start-refused", refuse).await, (1, 1));
    let lose = |store: &FlakyStore| store.lose_answers.store(1, Ordering::SeqCst);
    assert_eq!(start_through("start-lost", lose).await, (1, 1), "it landed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_written_shows_and_holds_nothing_up() {
    /// Commits between two checkpoints, and one more.
    const COMMITS: u64 = 101;
    let topic = &unique("no-checkpoint");
    create(topic, 1, &[]).await;
    let store = Arc::<FlakyStore>::default();
    store.refuse_checkpoints.store(true, Ordering::SeqCst);
    let lake = store.lake();
    let options = BronzeOptions {
        commit_age: Duration::from_millis(1),
        ..options(&brokers(), topic)
    };
    let running = Running::start(&options, &lake);
    let producer = producer(&brokers(), &[]);
    for seq in 0..COMMITS {
        send(&producer, topic, 0, Some(trade(seq).as_bytes()));
        producer.flush(DEADLINE).unwrap();
        running.until_recorded(seq + 1).await;
    }
    running
        .until("the missing checkpoint shows", |status| {
            let error = status["last_error"]["message"].as_str().unwrap_or_default();
            error.contains("no checkpoint of bronze.trades written") && error.contains("checkpoints are refused")
        })
        .await;
    assert!(running.status.snapshot()["trouble"].is_null());
    running.stop().await;
    assert_trades_once(&lake, 0..COMMITS).await;
}

//! Records in, rows out, and going on where it stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::Producer;
use ticklake_ingest::ErrorKind;
use ticklake_ingest::bronze::{self, BronzeOptions};
use ticklake_sql::TableName;
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE, Running, assert_trades_once, held, lake, options, producer, run_to_end, send, send_trades, trade, unique,
    until,
};
use crate::topics::{brokers, create};

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_run_reads_to_the_end_and_the_next_one_goes_on() {
    let topic = &unique("flow");
    create(topic, 4, &[]).await;
    let brokers = brokers();
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers, topic));
    send_trades(&brokers, topic, 4, 0..10_000);
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!((report.records, report.rows, report.dead_letters), (10_000, 10_000, 0));
    assert_eq!(report.positions.values().sum::<i64>(), 10_000);
    send_trades(&brokers, topic, 4, 10_000..15_000);
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!(report.records, 5_000);
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!((report.records, report.files), (0, 0));
    assert_trades_once(&lake, 0..15_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_follow_rows_bytes_and_age_and_a_shutdown_drains() {
    let topic = &unique("limits");
    create(topic, 2, &[]).await;
    let brokers = brokers();
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    send_trades(&brokers, topic, 2, 0..10_000);
    let long = Duration::from_secs(3600);
    let by_rows = BronzeOptions {
        commit_rows: 1000,
        commit_age: long,
        ..options(&brokers, topic)
    };
    let report = run_to_end(&by_rows, &lake).await.unwrap();
    assert!(report.commits >= 5, "{report:?}");

    // Neither rows nor age: only the shutdown commits these.
    let by_nothing = BronzeOptions {
        commit_age: long,
        ..options(&brokers, topic)
    };
    let running = Running::start(&by_nothing, &lake);
    running.until("it runs", |status| status["state"] == "running").await;
    send_trades(&brokers, topic, 2, 10_000..10_100);
    running
        .until("all of them are in hand", |status| status["open_records"] == 100)
        .await;
    assert_eq!(running.status.snapshot()["records"], 0);
    let report = running.stop().await;
    assert_eq!(report.records, 100);

    let by_age = Running::start(&options(&brokers, topic), &lake);
    send_trades(&brokers, topic, 2, 10_100..10_200);
    by_age.until_recorded(100).await;
    by_age.stop().await;
    assert_trades_once(&lake, 0..10_200).await;
}

/// Two writers that race for every commit of one table: lakes of their own, as two processes would have, and no group, so both read every partition.
struct Pair(Running, Running);

impl Pair {
    fn start(topic: &str, folder: &Path) -> Self {
        let options = BronzeOptions {
            commit_age: Duration::from_millis(20),
            ..options(&brokers(), topic)
        };
        let start = || Running::start(&options, &lake(folder));
        Self(start(), start())
    }

    fn sum(&self, key: &str) -> u64 {
        let of = |running: &Running| running.status.snapshot()[key].as_u64().unwrap();
        of(&self.0) + of(&self.1)
    }

    /// Waits until they have committed `records` between them, and stops both.
    async fn stop_after(self, records: u64) {
        until("all is committed", || {
            assert!(
                !self.0.is_finished() && !self.1.is_finished(),
                "a lost race ends nobody"
            );
            self.sum("records") >= records
        })
        .await;
        assert!(self.sum("conflicts") > 0, "the race never happened");
        self.0.stop().await;
        self.1.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_table_share_what_neither_doubles() {
    let topic = &unique("pair");
    create(topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::start(topic, folder.path());
    for step in 0..20u64 {
        send_trades(&brokers(), topic, 3, step * 500..(step + 1) * 500);
    }
    pair.stop_after(10_000).await;
    assert_trades_once(&lake(folder.path()), 0..10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_share_dead_letters_and_the_rows_beside_them() {
    const STEPS: u64 = 40;
    let topic = &unique("pair-bad");
    create(topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    // Each flush commits twice, and each of the four commits may meet one of the other writer's.
    let pair = Pair::start(topic, folder.path());
    let producer = producer(&brokers(), &[]);
    for step in 0..STEPS {
        for seq in step * 100..(step + 1) * 100 {
            send(&producer, topic, (seq % 3) as i32, Some(trade(seq).as_bytes()));
        }
        for partition in 0..3 {
            send(&producer, topic, partition, Some(b"no trade"));
        }
        producer.flush(DEADLINE).unwrap();
    }
    pair.stop_after(STEPS * 103).await;
    let lake = lake(folder.path());
    assert_trades_once(&lake, 0..STEPS * 100).await;
    let dead = held(&lake, &TableName::bronze_dead_letters()).await;
    assert_eq!((dead.rows() as u64, dead.doubles()), (STEPS * 3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let options = BronzeOptions {
        connect_timeout: Duration::from_millis(100),
        ..options("127.0.0.1:1", "none")
    };
    let error = run_to_end(&options, &lake(folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");

    let mut refused = options.clone();
    refused
        .kafka
        .librdkafka
        .insert("isolation.level".to_owned(), "read_uncommitted".to_owned());
    let run = bronze::run(refused, lake(folder.path()), Arc::default(), CancellationToken::new());
    let error = run.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("isolation.level"), "{error}");
}

//! Transactions: committed, aborted, and the markers that both leave in the log.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use ticklake_sql::TableName;

use crate::support::{
    DEADLINE, Running, assert_trades_once, held, lake, options, producer, run_to_end, send, send_trades, trade, unique,
};
use crate::topics::{brokers, create};

const WAIT: Duration = Duration::from_secs(30);

fn transactional(topic: &str) -> BaseProducer {
    let producer = producer(&brokers(), &[("transactional.id", &format!("{topic}-tx"))]);
    producer.init_transactions(WAIT).unwrap();
    producer
}

/// End offset of a partition as a consumer of that isolation level is told.
fn end(topic: &str, partition: i32, isolation: &str) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("isolation.level", isolation)
        .create()
        .unwrap();
    consumer.fetch_watermarks(topic, partition, WAIT).unwrap().1
}

/// One transaction with the trades of `range` in one partition. The broker answers before it has written the marker: this waits for that too.
fn transaction(producer: &BaseProducer, topic: &str, partition: i32, range: std::ops::Range<u64>, commit: bool) {
    producer.begin_transaction().unwrap();
    for seq in range {
        send(producer, topic, partition, Some(trade(seq).as_bytes()));
    }
    producer.flush(DEADLINE).unwrap();
    if commit {
        producer.commit_transaction(WAIT).unwrap();
    } else {
        producer.abort_transaction(WAIT).unwrap();
    }
    let deadline = Instant::now() + DEADLINE;
    while end(topic, partition, "read_committed") < end(topic, partition, "read_uncommitted") {
        assert!(Instant::now() < deadline, "the broker never ends the transaction");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_are_no_rows_and_markers_hold_nothing_up() {
    let topic = &unique("transactions");
    create(topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    let producer = transactional(topic);
    // Partition 0 ends with a commit marker, 1 with an aborted transaction, 2 holds nothing but an aborted one.
    transaction(&producer, topic, 0, 0..100, true);
    transaction(&producer, topic, 0, 1000..1050, false);
    transaction(&producer, topic, 0, 100..200, true);
    transaction(&producer, topic, 1, 200..300, true);
    transaction(&producer, topic, 1, 2000..2100, false);
    transaction(&producer, topic, 2, 3000..3010, false);
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!(report.records, 300);
    // 250 records and 3 markers, 200 and 2, 10 and 1.
    assert_eq!(report.positions.into_values().collect::<Vec<_>>(), [253, 202, 11]);
    assert_trades_once(&lake, 0..300).await;

    // The next run starts behind the markers, finds nothing, ends.
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!((report.records, report.files), (0, 0));

    // Another aborted transaction alone moves the position, and the records after it are read once.
    transaction(&producer, topic, 2, 3010..3020, false);
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!((report.records, report.positions[&2]), (0, 22));
    transaction(&producer, topic, 2, 300..310, true);
    assert_eq!(run_to_end(&options, &lake).await.unwrap().records, 10);
    assert_trades_once(&lake, 0..310).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_waited_for_and_not_skipped() {
    let topic = &unique("open-transaction");
    create(topic, 1, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    send_trades(&brokers(), topic, 1, 0..10);
    let producer = transactional(topic);
    producer.begin_transaction().unwrap();
    for seq in 10..20 {
        send(&producer, topic, 0, Some(trade(seq).as_bytes()));
    }
    producer.flush(DEADLINE).unwrap();
    send_trades(&brokers(), topic, 1, 20..30);
    // What stands behind the open transaction is not stable yet: the run ends before it.
    let report = run_to_end(&options, &lake).await.unwrap();
    assert_eq!((report.records, report.positions[&0]), (10, 10));
    producer.commit_transaction(WAIT).unwrap();
    assert_eq!(run_to_end(&options, &lake).await.unwrap().records, 20);
    assert_trades_once(&lake, 0..30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_added_partitions_are_read_from_their_first_record() {
    let topic = &unique("growing");
    create(topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    // Partitions 1 and 2 stay empty at first.
    send_trades(&brokers(), topic, 1, 0..100);
    let running = Running::start(&options, &lake);
    running.until_recorded(100).await;
    crate::topics::add_partitions(topic, 6).await;
    send_trades(&brokers(), topic, 6, 100..700);
    running.until_recorded(700).await;
    running.stop().await;
    assert_trades_once(&lake, 0..700).await;
    crate::topics::add_partitions(topic, 8).await;
    send_trades(&brokers(), topic, 8, 700..1500);
    assert_eq!(run_to_end(&options, &lake).await.unwrap().records, 800);
    assert_trades_once(&lake, 0..1500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_ten_megabytes_is_set_aside() {
    let topic = &unique("large");
    create(topic, 1, &[("max.message.bytes", "20000000")]).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let producer = producer(&brokers(), &[]);
    let large = vec![b'x'; 10 << 20];
    send(&producer, topic, 0, Some(trade(0).as_bytes()));
    send(&producer, topic, 0, Some(&large));
    send(&producer, topic, 0, Some(trade(1).as_bytes()));
    producer.flush(DEADLINE).unwrap();
    let report = run_to_end(&options(&brokers(), topic), &lake).await.unwrap();
    assert_eq!((report.rows, report.dead_letters), (2, 1));
    let dead = held(&lake, &TableName::bronze_dead_letters()).await;
    assert_eq!(dead.classes.keys().collect::<Vec<_>>(), ["too_large"]);
    assert!(dead.coordinates.contains_key(&(0, 1)));
}

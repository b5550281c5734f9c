//! Recorded positions that the topic does not hold any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rdkafka::producer::Producer;
use ticklake_ingest::ErrorKind;
use ticklake_ingest::bronze::{BronzeOptions, OnLostPosition};
use ticklake_sql::{Lake, TableName, log};

use crate::support::flaky_store::FlakyStore;
use crate::support::{
    DEADLINE, Running, assert_trades_once, held, lake, options, producer, run_to_end, send, send_trades, trade, unique,
};
use crate::topics::{brokers, create, delete, expire};

/// The choices that the newest commit's info holds.
async fn newest_choices(lake: &Lake) -> serde_json::Value {
    let table = lake.table(&TableName::bronze_trades()).await.unwrap();
    let mut version = table.latest_version(None).await.unwrap();
    loop {
        let entry = log::read(&table, version).await.unwrap().unwrap();
        let info = serde_json::to_value(entry.info).unwrap();
        if let Some(choices) = info.get("ticklake.lostPositions") {
            return choices.clone();
        }
        version -= 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_offset_stops_its_partition_and_no_other() {
    let topic = &unique("expired");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    send_trades(&brokers(), topic, 2, 0..100);
    run_to_end(&options, &lake).await.unwrap();
    send_trades(&brokers(), topic, 2, 100..200);
    expire(topic, 1, 80).await;

    let error = run_to_end(&options, &lake).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    for part in ["partition 1", "offset 50 has expired", "starts at 80", "30 offsets"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let after = held(&lake, &TableName::bronze_trades()).await;
    let rows_of = |partition| after.coordinates.keys().filter(|(p, _)| *p == partition).count();
    assert_eq!(
        (rows_of(0), rows_of(1)),
        (100, 50),
        "the other partition was read to its end"
    );

    let running = Running::start(&options, &lake);
    running
        .until("the stopped partition shows", |status| {
            status["partitions"][1]["state"] == "stopped"
        })
        .await;
    running.stop().await;

    let chosen = BronzeOptions {
        on_lost_position: OnLostPosition::Earliest,
        ..options
    };
    assert_eq!(run_to_end(&chosen, &lake).await.unwrap().records, 20);
    let choices = newest_choices(&lake).await;
    assert_eq!(
        (&choices[0]["oldOffset"], &choices[0]["newOffset"]),
        (&50.into(), &80.into()),
        "{choices}"
    );
    assert_eq!(choices[0]["choice"], "earliest");
    let after = held(&lake, &TableName::bronze_trades()).await;
    assert_eq!((after.rows(), after.doubles()), (170, 0));
}

/// Reads in small steps and holds little, so that a store that refuses stops it far before the end of the log.
fn short_of_breath(topic: &str) -> BronzeOptions {
    let mut options = BronzeOptions {
        commit_rows: 100,
        ..options(&brokers(), topic)
    };
    for (name, value) in [
        ("queued.min.messages", "1"),
        ("queued.max.messages.kbytes", "64"),
        ("fetch.message.max.bytes", "16384"),
    ] {
        options.kafka.librdkafka.insert(name.to_owned(), value.to_owned());
    }
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_expires_while_running_stops_its_partition() {
    const SENT: u64 = 100_000;
    const EXPIRED: i64 = 90_000;
    let topic = &unique("expiring");
    create(topic, 2, &[]).await;
    let store = Arc::<FlakyStore>::default();
    let lake = store.lake();
    let running = Running::start(&short_of_breath(topic), &lake);
    send_trades(&brokers(), topic, 2, 0..10);
    running.until_recorded(10).await;
    // Nothing can be committed, so reading stops somewhere; meanwhile what comes after expires.
    store.refuse.store(true, Ordering::SeqCst);
    let producer = producer(&brokers(), &[]);
    for seq in 10..SENT {
        send(&producer, topic, 0, Some(trade(seq).as_bytes()));
    }
    producer.flush(DEADLINE).unwrap();
    running
        .until("commits are refused", |status| status["retries"].as_u64().unwrap() >= 3)
        .await;
    expire(topic, 0, EXPIRED).await;
    store.refuse.store(false, Ordering::SeqCst);
    running
        .until("its partition stops", |status| {
            let error = status["partitions"][0]["error"].as_str().unwrap_or_default();
            error.contains("has expired") && error.contains(&format!("starts at {EXPIRED}"))
        })
        .await;
    // The other one goes on.
    for seq in SENT..SENT + 100 {
        send(&producer, topic, 1, Some(trade(seq).as_bytes()));
    }
    producer.flush(DEADLINE).unwrap();
    running
        .until("the other partition is read", |status| {
            status["partitions"][1]["position"].as_i64() == Some(105)
        })
        .await;
    let stopped_at = running.status.snapshot()["partitions"][0]["position"].as_i64().unwrap();
    running.stop().await;
    assert!(stopped_at < EXPIRED);
    // What was read before is there without a hole, and nothing from behind the hole.
    let held = held(&lake, &TableName::bronze_trades()).await;
    let offsets: Vec<i64> = held
        .coordinates
        .keys()
        .filter(|(p, _)| *p == 0)
        .map(|(_, o)| *o)
        .collect();
    assert_eq!(offsets, (0..stopped_at).collect::<Vec<_>>());
    assert_eq!(held.doubles(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_and_refilled_past_the_old_position_is_noticed() {
    let topic = &unique("again");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    send_trades(&brokers(), topic, 2, 0..100);
    run_to_end(&options, &lake).await.unwrap();
    delete(topic).await;
    create(topic, 2, &[]).await;
    send_trades(&brokers(), topic, 2, 1000..1200);

    let error = run_to_end(&options, &lake).await.unwrap_err();
    assert!(error.to_string().contains("made again"), "{error}");
    assert_trades_once(&lake, 0..100).await;

    let chosen = BronzeOptions {
        on_lost_position: OnLostPosition::Earliest,
        ..options.clone()
    };
    assert_eq!(run_to_end(&chosen, &lake).await.unwrap().records, 200);
    assert_eq!(newest_choices(&lake).await.as_array().unwrap().len(), 2);
    // The choice is taken over: the next run needs none.
    assert_eq!(run_to_end(&options, &lake).await.unwrap().records, 0);
    let after = held(&lake, &TableName::bronze_trades()).await;
    assert_eq!(after.seqs.len(), 300);
    assert!(after.seqs.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_under_a_running_ingest_stops_it() {
    let topic = &unique("under-way");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    let running = Running::start(&options, &lake);
    send_trades(&brokers(), topic, 2, 0..100);
    running.until_recorded(100).await;
    delete(topic).await;
    create(topic, 2, &[]).await;
    send_trades(&brokers(), topic, 2, 1000..1200);
    let is_stopped =
        |partition: &serde_json::Value| partition["error"].as_str().is_some_and(|e| e.contains("made again"));
    running
        .until("both partitions stop", |status| {
            status["partitions"]
                .as_array()
                .is_some_and(|all| all.len() == 2 && all.iter().all(is_stopped))
        })
        .await;
    running.stop().await;
    assert_trades_once(&lake, 0..100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_topic_made_again_is_read_whole_where_the_operator_chose_so() {
    let topic = &unique("shorter");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let chosen = BronzeOptions {
        on_lost_position: OnLostPosition::Earliest,
        ..options(&brokers(), topic)
    };
    send_trades(&brokers(), topic, 2, 0..200);
    let running = Running::start(&chosen, &lake);
    running.until_recorded(200).await;
    delete(topic).await;
    create(topic, 2, &[]).await;
    // Fewer than the old topic had: its ends mean nothing in the new one.
    send_trades(&brokers(), topic, 2, 1000..1020);
    running.until_recorded(220).await;
    // Once more, now that the end of the new log was seen and passed.
    send_trades(&brokers(), topic, 2, 1020..1100);
    running.until_recorded(300).await;
    let positions = running.stop().await.positions;
    assert_eq!(positions.into_values().collect::<Vec<_>>(), [50, 50]);
    let held = held(&lake, &TableName::bronze_trades()).await;
    let expected: Vec<i64> = (0..200).chain(1000..1100).collect();
    assert_eq!(held.seqs.keys().copied().collect::<Vec<_>>(), expected);
    assert!(held.seqs.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_txn_missing_from_the_table_s_log_stops_its_partition() {
    let topic = &unique("missing");
    create(topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let options = options(&brokers(), topic);
    send_trades(&brokers(), topic, 3, 0..300);
    run_to_end(&options, &lake(folder.path())).await.unwrap();
    // Cut every mention of partition 1's position out of the log.
    for file in std::fs::read_dir(folder.path().join("bronze/trades/_delta_log")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            let kept: Vec<&str> = text
                .lines()
                .filter(|line| !(line.starts_with("{\"txn\"") && line.contains("/1\"")))
                .collect();
            std::fs::write(&path, kept.join("\n") + "\n").unwrap();
        }
    }
    send_trades(&brokers(), topic, 3, 300..600);
    let lake = lake(folder.path());
    let error = run_to_end(&options, &lake).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("partition 1: the table's log holds no position"),
        "{error}"
    );
    let after = held(&lake, &TableName::bronze_trades()).await;
    assert_eq!((after.rows(), after.doubles()), (500, 0));
}

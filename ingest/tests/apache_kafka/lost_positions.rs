//! Recorded positions that the topic does not hold any more.

use ticklake_ingest::ErrorKind;
use ticklake_ingest::bronze::{BronzeOptions, OnLostPosition};
use ticklake_sql::{Lake, TableName, log};

use crate::support::{Running, assert_trades_once, held, lake, options, run_to_end, send_trades, unique};
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

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_expires_while_running_stops_its_partition() {
    let topic = &unique("expiring");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let (lake, options) = (lake(folder.path()), options(&brokers(), topic));
    send_trades(&brokers(), topic, 2, 0..100);
    run_to_end(&options, &lake).await.unwrap();
    send_trades(&brokers(), topic, 2, 100..200);
    // The run reads a position that was fine when its partition was taken up: the broker moves the start past it in between.
    expire(topic, 1, 100).await;
    let running = Running::start(&options, &lake);
    running
        .until("it stops", |status| {
            status["partitions"][1]["error"]
                .as_str()
                .is_some_and(|e| e.contains("expired"))
        })
        .await;
    running.until_recorded(50).await;
    running.stop().await;
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

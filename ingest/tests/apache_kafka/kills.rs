//! kill -9 at random moments and at the worst ones, while records flow. `TICKLAKE_KILLS` sets how many (10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::producer::Producer;
use ticklake_sql::TableName;

use crate::instances::Process;
use crate::support::{DEADLINE, held, lake, options, producer, run_to_end, send, trade, unique};
use crate::topics::{brokers, create};

const RECORDS: u64 = 1_000_000;
const PARTITIONS: i32 = 10;
/// Every so many records one does not decode.
const BAD_EVERY: u64 = 1000;

fn kills() -> u32 {
    std::env::var("TICKLAKE_KILLS")
        .ok()
        .map_or(10, |text| text.parse().expect("TICKLAKE_KILLS is a number"))
}

/// Sends all records, no more of them at any time than the share that `may_be_sent` allows.
fn send_slowly(topic: &str, records: u64, may_be_sent: impl Fn() -> f64) {
    let producer = producer(&brokers(), &[]);
    for seq in 0..records {
        let value = if seq % BAD_EVERY == 0 {
            format!("bad {seq}")
        } else {
            trade(seq)
        };
        send(
            &producer,
            topic,
            (seq % PARTITIONS as u64) as i32,
            Some(value.as_bytes()),
        );
        while seq % 1000 == 0 && seq as f64 > may_be_sent() * records as f64 {
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(DEADLINE).unwrap();
}

async fn assert_all_once(folder: &std::path::Path, topic: &str, records: u64) {
    let lake = lake(folder);
    run_to_end(&options(&brokers(), topic), &lake).await.unwrap();
    let trades = held(&lake, &TableName::bronze_trades()).await;
    let dead = held(&lake, &TableName::bronze_dead_letters()).await;
    let bad = records.div_ceil(BAD_EVERY);
    assert_eq!((trades.doubles(), dead.doubles()), (0, 0), "doubles");
    assert_eq!((trades.rows() as u64, dead.rows() as u64), (records - bad, bad), "rows");
    assert_eq!(trades.seqs.len() as u64, records - bad, "each seq once");
    // Without transactions every offset is a record: each is in one table, none in both.
    let mut offsets = vec![0; PARTITIONS as usize];
    for (partition, offset) in trades.coordinates.keys().chain(dead.coordinates.keys()) {
        offsets[*partition as usize] += 1;
        assert!(*offset < (records / PARTITIONS as u64) as i64);
    }
    assert!(
        offsets.iter().all(|count| *count == records / PARTITIONS as u64),
        "{offsets:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_at_random_moments_loses_and_doubles_nothing() {
    let topic = &unique("kills");
    create(topic, PARTITIONS, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let kills = kills();
    // Each kill releases the records that the next process finds new.
    let killed = Arc::new(AtomicU32::new(0));
    let sending = {
        let (topic, killed) = (topic.clone(), killed.clone());
        let released = move || f64::from(killed.load(Ordering::SeqCst) + 1) / f64::from(kills);
        std::thread::spawn(move || send_slowly(&topic, RECORDS, released))
    };
    let mut after_commits = 0;
    for round in 0..kills {
        let before = newest_version(folder.path()).await;
        let process = Process::start(topic, folder.path(), "", "");
        if round % 2 == 0 {
            // Any point from the start of the process on.
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..1500))).await;
        } else {
            // Any point from its first commit on, however slow the machine is.
            let deadline = std::time::Instant::now() + DEADLINE;
            while newest_version(folder.path()).await == before {
                assert!(std::time::Instant::now() < deadline, "a new process never commits");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
        }
        process.kill();
        killed.fetch_add(1, Ordering::SeqCst);
        after_commits += u32::from(newest_version(folder.path()).await > before);
    }
    sending.join().unwrap();
    assert!(
        after_commits >= kills / 3,
        "only {after_commits} of {kills} kills met a process that had committed something"
    );
    assert_all_once(folder.path(), topic, RECORDS).await;
}

/// Of bronze.trades; `None` before there is any.
async fn newest_version(folder: &std::path::Path) -> Option<u64> {
    let table = lake(folder).table(&TableName::bronze_trades()).await.ok()?;
    table.latest_version(None).await.ok()
}

/// Data files of bronze.trades in the folder, whether the log knows them or not.
fn files_on_disk(folder: &std::path::Path) -> usize {
    let table = folder.join("bronze/trades");
    let partitions = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
    partitions
        .filter(|path| path.is_dir() && !path.ends_with("_delta_log"))
        .map(|path| std::fs::read_dir(path).unwrap().count())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_between_files_and_commits_loses_and_doubles_nothing() {
    let topic = &unique("failpoints");
    create(topic, PARTITIONS, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    const FEW: u64 = 200_000;
    send_slowly(topic, FEW, || 1.0);
    for failpoint in [
        "files-written",
        "dead-letters-committed",
        "trades-committed",
        "dead-letters-committed",
        "files-written",
    ] {
        let mut process = Process::start(topic, folder.path(), "", failpoint);
        let deadline = std::time::Instant::now() + DEADLINE;
        while process.0.try_wait().unwrap().is_none() {
            assert!(
                std::time::Instant::now() < deadline,
                "failpoint {failpoint} was never reached"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_all_once(folder.path(), topic, FEW).await;
    let table = lake(folder.path()).table(&TableName::bronze_trades()).await.unwrap();
    let known = table.load(None).await.unwrap().get_file_uris().unwrap().count();
    let orphans = files_on_disk(folder.path()) - known;
    assert!(
        orphans >= 4,
        "{orphans} files were written and never committed: four kills leave one each"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_drained_instances_of_a_group_lose_and_double_nothing() {
    let topic = &unique("group-kills");
    create(topic, PARTITIONS, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    const FEW: u64 = 300_000;
    let sending = {
        let topic = topic.clone();
        let began = std::time::Instant::now();
        std::thread::spawn(move || send_slowly(&topic, FEW, || began.elapsed().as_secs_f64() / 10.0))
    };
    let steady = Process::start(topic, folder.path(), "steady", "");
    for round in 0..4 {
        let other = Process::start(topic, folder.path(), "other", "");
        tokio::time::sleep(Duration::from_millis(rand::random_range(1000..2500))).await;
        if round % 2 == 0 {
            other.kill()
        } else {
            other.terminate().await
        }
    }
    sending.join().unwrap();
    steady.terminate().await;
    assert_all_once(folder.path(), topic, FEW).await;
}

//! Commits: races end with every commit in the log once, and what excludes each other does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use deltalake::kernel::{Add, Remove};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, ErrorKind, Table, TableName, log};

use crate::faulty_store::FaultyStore;
use crate::rows::{batch, clock, local_lake, partition};

pub async fn table(store: &Arc<FaultyStore>) -> Table {
    store
        .lake(clock())
        .create_table(&TableName::silver_trades())
        .await
        .unwrap()
}

pub fn txn(app_id: &str, version: i64) -> Commit {
    Commit {
        operation: "WRITE".into(),
        txns: vec![Txn {
            app_id: app_id.into(),
            version,
        }],
        ..Default::default()
    }
}

pub async fn add(table: &Table, seed: u64) -> Add {
    data_file::write(
        table,
        partition(table.spec()),
        vec![batch(table.spec(), seed, 2)],
        FileOptions::default(),
    )
    .await
    .unwrap()
}

fn committed(version: u64) -> Outcome {
    Outcome::Committed { version }
}

fn check_conflict(outcome: Outcome, at: u64, why: &str) {
    let Outcome::Conflict { version, reason } = outcome else {
        panic!("committed: {outcome:?}")
    };
    assert_eq!(version, at);
    assert!(reason.contains(why), "{reason}");
}

#[tokio::test]
async fn stale_committers_of_different_app_ids_both_land() {
    let table = table(&FaultyStore::new()).await;
    let (mut a, mut b) = (
        Committer::open(&table).await.unwrap(),
        Committer::open(&table).await.unwrap(),
    );
    assert_eq!(a.commit(txn("a", 1)).await.unwrap(), committed(1));
    assert_eq!(a.commit(txn("a", 2)).await.unwrap(), committed(2));
    assert_eq!(b.commit(txn("b", 7)).await.unwrap(), committed(3));
    assert_eq!(b.positions()["a"], 2, "what stood in the way was taken over");
    assert_eq!(
        table.positions().await.unwrap().1,
        [("a".to_owned(), 2), ("b".to_owned(), 7)].into()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_committers_lose_nothing_on_local_disk() {
    const WRITERS: u64 = 4;
    const COMMITS: i64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let table = local_lake(&folder)
        .create_table(&TableName::bronze_trades())
        .await
        .unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let table = table.clone();
            tokio::spawn(async move {
                let mut committer = Committer::open(&table).await.unwrap();
                for version in 1..=COMMITS {
                    assert!(matches!(
                        committer.commit(txn(&format!("w{writer}"), version)).await.unwrap(),
                        Outcome::Committed { .. }
                    ));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (version, positions) = table.positions().await.unwrap();
    assert_eq!(version, WRITERS * COMMITS as u64);
    assert_eq!(positions.len(), WRITERS as usize);
    assert!(positions.values().all(|position| *position == COMMITS));
}

#[tokio::test]
async fn a_shared_app_id_excludes() {
    let table = table(&FaultyStore::new()).await;
    let (mut a, mut b) = (
        Committer::open(&table).await.unwrap(),
        Committer::open(&table).await.unwrap(),
    );
    a.commit(txn("other", 1)).await.unwrap();
    a.commit(txn("shared", 5)).await.unwrap();
    let before = b.version();
    check_conflict(b.commit(txn("shared", 4)).await.unwrap(), 2, "it moves shared to 5");
    assert_eq!(before, 0);
    b.refresh().await.unwrap();
    assert_eq!((b.version(), b.positions()["shared"]), (2, 5));
    assert_eq!(
        log::read(&table, 3).await.unwrap().map(|e| e.version),
        None,
        "nothing was written"
    );
}

#[tokio::test]
async fn two_rewrites_of_one_file_from_one_snapshot_exclude_each_other() {
    let table = table(&FaultyStore::new()).await;
    let mut a = Committer::open(&table).await.unwrap();
    let file = add(&table, 1).await;
    a.commit(Commit {
        adds: vec![file.clone()],
        ..txn("writer", 1)
    })
    .await
    .unwrap();
    let mut b = Committer::open(&table).await.unwrap();
    let remove = removal(&file, clock().now(), false);
    // Different app ids, as two jobs that forgot the table's own: the removed file still tells.
    let rewrite = |app_id: &str, seed| {
        let (table, remove, app_id) = (table.clone(), remove.clone(), app_id.to_owned());
        async move {
            Commit {
                adds: vec![add(&table, seed).await],
                removes: vec![remove],
                ..txn(&app_id, 2)
            }
        }
    };
    assert_eq!(a.commit(rewrite("one", 2).await).await.unwrap(), committed(2));
    check_conflict(b.commit(rewrite("two", 3).await).await.unwrap(), 2, &file.path);
    assert_eq!(
        table
            .load(None)
            .await
            .unwrap()
            .snapshot()
            .unwrap()
            .log_data()
            .num_files(),
        1
    );

    // Planned before the committer caught up: the version that was read decides.
    b.refresh().await.unwrap();
    let stale = Commit {
        read_version: Some(1),
        ..rewrite("two", 4).await
    };
    check_conflict(b.commit(stale).await.unwrap(), 2, &file.path);
}

#[tokio::test]
async fn what_the_plan_has_seen_does_not_stand_in_its_way() {
    let table = table(&FaultyStore::new()).await;
    let (mut a, mut b) = (
        Committer::open(&table).await.unwrap(),
        Committer::open(&table).await.unwrap(),
    );
    a.commit(txn("writer", 1)).await.unwrap();
    a.commit(txn("writer", 2)).await.unwrap();
    let planned = Commit {
        read_version: Some(2),
        ..txn("writer", 3)
    };
    assert_eq!(b.commit(planned).await.unwrap(), committed(3));
    let stale = Commit {
        read_version: Some(2),
        ..txn("writer", 3)
    };
    check_conflict(b.commit(stale).await.unwrap(), 3, "it moves writer to 3");
}

#[tokio::test]
async fn a_change_of_metadata_stops_a_commit() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let log = Path::from("lake/silver/trades/_delta_log");
    let first = store
        .get(&log.clone().join("00000000000000000000.json"))
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    store
        .put(&log.join("00000000000000000001.json"), first.into())
        .await
        .unwrap();
    check_conflict(committer.commit(txn("a", 1)).await.unwrap(), 1, "metadata or protocol");
}

#[tokio::test]
async fn positions_go_back_only_when_told() {
    let table = table(&FaultyStore::new()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    committer.commit(txn("a", 5)).await.unwrap();
    let error = committer.commit(txn("a", 4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error.to_string().contains("position of a would go back from 5 to 4"),
        "{error}"
    );
    assert_eq!(
        committer.commit(txn("a", 5)).await.unwrap(),
        committed(2),
        "equal only excludes"
    );
    assert_eq!(
        committer
            .commit(Commit {
                allow_backwards: true,
                ..txn("a", 3)
            })
            .await
            .unwrap(),
        committed(3)
    );
    assert_eq!(table.positions().await.unwrap().1["a"], 3);
}

#[tokio::test]
async fn a_commit_that_could_not_be_excluded_is_refused() {
    let table = table(&FaultyStore::new()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let remove = Remove {
        path: "x".into(),
        ..Default::default()
    };
    let bare = Commit {
        removes: vec![remove],
        ..Default::default()
    };
    assert!(
        committer
            .commit(bare)
            .await
            .unwrap_err()
            .to_string()
            .contains("without an app id")
    );
    let twice = Commit {
        txns: [txn("a", 1).txns, txn("a", 2).txns].concat(),
        ..Default::default()
    };
    assert!(
        committer
            .commit(twice)
            .await
            .unwrap_err()
            .to_string()
            .contains("stands twice")
    );
}

#[tokio::test]
async fn the_entry_says_who_and_why() {
    let table = table(&FaultyStore::new()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let mut commit = txn("a", 1);
    commit.info.insert("retention".into(), true.into());
    let mut file = add(&table, 1).await;
    file.tags = Some([("level".to_owned(), Some("1".to_owned()))].into());
    commit.adds.push(file.clone());
    committer.commit(commit).await.unwrap();
    let entry = log::read(&table, 1).await.unwrap().unwrap();
    assert_eq!(entry.adds, [file]);
    assert_eq!(entry.info_value("retention"), Some(&true.into()));
    let info = entry.info.unwrap();
    assert_eq!(info.operation.as_deref(), Some("WRITE"));
    assert_eq!(
        info.engine_info.as_deref(),
        Some(concat!("ticklake/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(info.timestamp, Some(clock().now().timestamp_millis()));
}

#[tokio::test]
async fn appends_stay_flat() {
    let store = FaultyStore::new();
    let table = table(&store).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let mut cost = Vec::new();
    for version in 1..=2_000 {
        let before = store.calls();
        assert_eq!(
            committer.commit(txn("a", version)).await.unwrap(),
            committed(version as u64)
        );
        let after = store.calls();
        cost.push((
            after.puts - before.puts,
            after.gets - before.gets,
            after.lists - before.lists,
        ));
    }
    cost.dedup();
    assert_eq!(
        cost,
        [(1, 0, 0)],
        "one put a commit, nothing else, at any length of the log"
    );

    let before = store.calls();
    assert_eq!(table.latest_version(Some(0)).await.unwrap(), 2_000);
    let probes = store.calls().gets - before.gets;
    assert!(probes <= 24 && store.calls().lists == before.lists, "{probes} probes");
}

#[tokio::test]
async fn versions_are_found_by_probing() {
    let table = table(&FaultyStore::new()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    for newest in 0..20 {
        for from in 0..=newest {
            assert_eq!(table.latest_version(Some(from)).await.unwrap(), newest, "from {from}");
        }
        assert_eq!(table.latest_version(None).await.unwrap(), newest);
        assert!(log::read(&table, newest + 1).await.unwrap().is_none());
        assert!(log::read(&table, newest + 9).await.unwrap().is_none());
        committer.commit(txn("a", newest as i64)).await.unwrap();
    }
}

#[tokio::test]
async fn a_writer_that_slept_past_log_clean_up_leaves_no_hole() {
    let store = FaultyStore::new();
    let now = Arc::new(AtomicI64::new(clock().now_us()));
    let hands = now.clone();
    let ticking = Clock::from_fn(move || DateTime::from_timestamp_micros(hands.load(Ordering::Relaxed)).unwrap());
    let table = store
        .lake(ticking)
        .create_table(&TableName::silver_trades())
        .await
        .unwrap();
    let (mut awake, mut asleep) = (
        Committer::open(&table).await.unwrap(),
        Committer::open(&table).await.unwrap(),
    );
    for version in 1..=9 {
        awake.commit(txn("a", version)).await.unwrap();
    }
    log::checkpoint(&table, None).await.unwrap();
    awake.commit(txn("a", 10)).await.unwrap();
    // Everything before the checkpoint expires.
    now.fetch_add(3_650 * 86_400_000_000, Ordering::Relaxed);
    log::checkpoint(&table, None).await.unwrap();
    assert!(log::read(&table, 1).await.is_err());
    check_conflict(
        asleep.commit(txn("b", 1)).await.unwrap(),
        10,
        "log clean-up has passed version 0",
    );
    assert_eq!(asleep.commit(txn("b", 1)).await.unwrap(), committed(11));
}

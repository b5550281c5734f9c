//! Checkpoints keep positions, tags and statistics; clean-up never passes what others still read.

use std::sync::Arc;

use chrono::TimeDelta;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::{Clock, ErrorKind, Table, TableName, log};

use crate::commits::{add, txn};
use crate::faulty_store::FaultyStore;
use crate::rows::clock;

/// A clock at the store's own time, which stamps its objects, or ahead of it.
fn ahead(by: TimeDelta) -> Clock {
    let system = Clock::system();
    Clock::from_fn(move || system.now() + by)
}

async fn open(store: &Arc<FaultyStore>, clock: Clock) -> Table {
    store
        .lake(clock)
        .create_table(&TableName::silver_trades())
        .await
        .unwrap()
}

async fn commit_files(table: &Table, versions: std::ops::RangeInclusive<i64>) {
    let mut committer = Committer::open(table).await.unwrap();
    for version in versions {
        let mut file = add(table, version as u64).await;
        file.tags = Some([("written_by".to_owned(), Some(format!("job {version}")))].into());
        let app_id = format!("input{}", version % 3);
        committer
            .commit(Commit {
                adds: vec![file],
                ..txn(&app_id, version)
            })
            .await
            .unwrap();
    }
}

async fn entries(store: &FaultyStore, suffix: &str) -> Vec<u64> {
    let log = Path::from("lake/silver/trades/_delta_log");
    let listed: Vec<_> = store.list(Some(&log)).try_collect().await.unwrap();
    let names = listed
        .iter()
        .filter_map(|meta| meta.location.filename().unwrap().strip_suffix(suffix)?.parse().ok());
    let mut versions: Vec<_> = names.collect();
    versions.sort_unstable();
    versions
}

#[allow(deprecated)]
async fn files(table: &Table) -> Vec<(String, Option<String>, String)> {
    let loaded = table.load(None).await.unwrap();
    let views: Vec<_> = loaded
        .get_active_add_actions_by_partitions(&[])
        .try_collect()
        .await
        .unwrap();
    let mut files: Vec<_> = views
        .iter()
        .map(|view| {
            let add = view.add_action();
            let stats: serde_json::Value = serde_json::from_str(&add.stats.unwrap()).unwrap();
            (
                add.path,
                add.tags.and_then(|t| t["written_by"].clone()),
                stats["numRecords"].to_string() + &stats["maxValues"]["ts"].to_string(),
            )
        })
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_keeps_positions_tags_and_statistics() {
    let store = FaultyStore::new();
    let table = open(&store, ahead(TimeDelta::zero())).await;
    commit_files(&table, 1..=20).await;
    let (before, positions) = (files(&table).await, table.positions().await.unwrap());
    assert_eq!(positions.1.len(), 3);
    assert_eq!(before.len(), 20);
    assert!(
        before
            .iter()
            .all(|(_, tag, stats)| tag.is_some() && stats.starts_with('2')),
        "{before:?}"
    );

    let late = open(&store, ahead(TimeDelta::days(30))).await;
    log::checkpoint(&late, None).await.unwrap();
    assert_eq!(entries(&store, ".checkpoint.parquet").await, [20]);
    assert_eq!(entries(&store, ".json").await, [20], "the expired entries are gone");

    let reopened = open(&store, ahead(TimeDelta::zero())).await;
    assert_eq!(reopened.positions().await.unwrap(), positions);
    assert_eq!(files(&reopened).await, before);
    commit_files(&reopened, 21..=22).await;
    assert_eq!(reopened.positions().await.unwrap().0, 22);
    assert_eq!(files(&reopened).await.len(), 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_from_a_checkpoint_reads_no_more_with_a_longer_history() {
    let store = FaultyStore::new();
    let table = open(&store, ahead(TimeDelta::zero())).await;
    let mut costs = Vec::new();
    for round in 0..3 {
        commit_files(&table, round * 40 + 1..=round * 40 + 40).await;
        log::checkpoint(&table, None).await.unwrap();
        let before = store.calls();
        Committer::open(&table).await.unwrap();
        costs.push((store.calls().gets - before.gets, store.calls().lists - before.lists));
    }
    costs.dedup();
    assert_eq!(costs.len(), 1, "{costs:?}");
    assert_eq!(costs[0].1, 0, "no listing");
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_up_keeps_what_readers_follow() {
    let store = FaultyStore::new();
    let now = open(&store, ahead(TimeDelta::zero())).await;
    commit_files(&now, 1..=5).await;
    log::checkpoint(&now, None).await.unwrap();
    commit_files(&now, 6..=12).await;
    log::checkpoint(&now, None).await.unwrap();
    assert_eq!(entries(&store, ".json").await.len(), 13, "nothing has expired yet");

    let late = open(&store, ahead(TimeDelta::days(30))).await;
    commit_files(&late, 13..=14).await;
    log::checkpoint(&late, Some(8)).await.unwrap();
    assert_eq!(
        entries(&store, ".json").await,
        (5..=14).collect::<Vec<_>>(),
        "version 8 is kept, and the checkpoint it stands on"
    );
    assert_eq!(log::read(&late, 8).await.unwrap().unwrap().version, 8);
    let error = log::read(&late, 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("version 3 was removed from the log"),
        "{error}"
    );

    log::checkpoint(&late, None).await.unwrap();
    assert_eq!(entries(&store, ".checkpoint.parquet").await, [14]);
    assert_eq!(files(&late).await.len(), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_due_every_interval() {
    let store = FaultyStore::new();
    let table = open(&store, clock()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let mut made = Vec::new();
    for version in 1..=250 {
        committer.commit(txn("a", version)).await.unwrap();
        made.extend(log::checkpoint_when_due(&table, Some(0)).await.unwrap());
    }
    assert_eq!(made, [100, 200]);
    assert_eq!(table.latest_version(None).await.unwrap(), 250);
}

/// Each checkpoint says every file again: the more there are, the fewer checkpoints, down to one in ten intervals.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_has_fewer_checkpoints() {
    let store = FaultyStore::new();
    let table = open(&store, clock()).await;
    let mut committer = Committer::open(&table).await.unwrap();
    let file = add(&table, 1).await;
    let files = |count: usize, prefix: &str| Commit {
        adds: (0..count)
            .map(|number| {
                let mut file = file.clone();
                file.path = format!("date=2026-01-01/{prefix}{number}.parquet");
                file
            })
            .collect(),
        ..Commit::default()
    };
    committer.commit(files(4_000, "first")).await.unwrap();
    log::checkpoint(&table, None).await.unwrap();
    let mut made = Vec::new();
    for version in 2..=410 {
        committer.commit(txn("a", version)).await.unwrap();
        made.extend(log::checkpoint_when_due(&table, Some(0)).await.unwrap());
    }
    // 4,002 and 4,003 actions: a file, protocol, metadata, later a position.
    assert_eq!(made, [201, 401]);
    committer.commit(files(20_000, "more")).await.unwrap();
    log::checkpoint(&table, None).await.unwrap();
    let from = table.latest_version(None).await.unwrap();
    for version in 1..=999 {
        committer.commit(txn("a", 500 + version)).await.unwrap();
    }
    assert_eq!(log::checkpoint_when_due(&table, Some(0)).await.unwrap(), None);
    committer.commit(txn("a", 2_000)).await.unwrap();
    assert_eq!(
        log::checkpoint_when_due(&table, Some(0)).await.unwrap(),
        Some(from + 1_000)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_checkpoints_as_commits_come() {
    let store = FaultyStore::new();
    let table = open(&store, clock()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(log::keep_checkpointed(table.clone(), || None, async {
        drop(stopped.await)
    }));
    let mut committer = Committer::open(&table).await.unwrap();
    for version in 1..=100 {
        committer.commit(txn("a", version)).await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while entries(&store, ".checkpoint.parquet").await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "no checkpoint came");
        committer.commit(txn("a", 100)).await.unwrap();
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_stale_hint_costs_a_listing_and_nothing_else() {
    let store = FaultyStore::new();
    let table = open(&store, ahead(TimeDelta::days(30))).await;
    commit_files(&table, 1..=4).await;
    log::checkpoint(&table, None).await.unwrap();
    let expected = table.positions().await.unwrap();
    let hint = Path::from("lake/silver/trades/_delta_log/_last_checkpoint");
    for text in ["not json", r#"{"version":2,"size":3}"#] {
        store.put(&hint, text.into()).await.unwrap();
        assert_eq!(table.positions().await.unwrap(), expected, "{text}");
    }
    store.delete(&hint).await.unwrap();
    assert_eq!(table.positions().await.unwrap(), expected);
}

//! From one stale snapshot: optimize against optimize, against a refresh, against appends that never stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ticklake_sql::TableName;

use super::*;
use crate::maintenance::active::ActiveFiles;
use crate::maintenance::optimize;
use crate::maintenance::optimize::plan::plan;
use crate::maintenance::optimize::rewrite::rewrite;
use crate::maintenance::replace::{Change, Replacer};

/// Everything that optimize would do now, written and not committed: the version it was planned from, and the changes.
async fn planned(lake: &TestLake, table: &Table) -> (u64, Vec<Change>) {
    let files = ActiveFiles::load(table).await.unwrap();
    let now = lake.lake.clock().now();
    let mut changes = Vec::new();
    for bin in plan(table.name(), files.iter(), &options(), now) {
        changes.push(rewrite(table, &bin, &options()).await.unwrap().change);
    }
    assert!(!changes.is_empty());
    (files.version(), changes)
}

async fn put(table: &Table, (planned_at, changes): &(u64, Vec<Change>)) -> Vec<bool> {
    let mut replacer = Replacer::open(table).await.unwrap();
    let replaced = replacer
        .commit(*planned_at, changes, "OPTIMIZE", Default::default(), &[])
        .await;
    replaced.unwrap().landed
}

#[tokio::test(flavor = "multi_thread")]
async fn two_optimizes_of_one_snapshot_double_nothing() {
    let lake = filled(5, 10).await;
    for name in [TableName::bronze_trades(), TableName::silver_trades()] {
        let table = table(&lake, &name).await;
        let rows = lake.lines(&name).await;
        let (one, other) = (planned(&lake, &table).await, planned(&lake, &table).await);
        assert_eq!(put(&table, &one).await, [true]);
        assert_eq!(put(&table, &other).await, [false]);
        assert_eq!(lake.lines(&name).await, rows);
        assert_eq!(files(&table).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_in_between_do_no_harm() {
    let lake = filled(5, 10).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let table = table(&lake, &TableName::silver_trades()).await;
    let stale = planned(&lake, &table).await;
    lake.land(&(50..60).map(trade).collect::<Vec<_>>()).await;
    silver.refresh().await.unwrap();
    let rows = lake.lines(&TableName::silver_trades()).await;
    assert_eq!(put(&table, &stale).await, [true], "the work is not lost to a refresh");
    assert_eq!(lake.lines(&TableName::silver_trades()).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_took_a_row_out_of_a_file_goes_first() {
    let lake = filled(5, 10).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let table = table(&lake, &TableName::silver_trades()).await;
    let stale = planned(&lake, &table).await;
    // A lesser repeat of trade 7 takes its place.
    let mut repeat = trade(7);
    repeat.partition = -1;
    lake.land(&[repeat]).await;
    let report = silver.refresh().await.unwrap();
    assert_eq!((report.superseded, report.files_removed), (1, 1));
    let rows = lake.lines(&TableName::silver_trades()).await;
    assert_eq!(put(&table, &stale).await, [false]);
    assert_eq!(lake.lines(&TableName::silver_trades()).await, rows);
    // And what optimize plans from there is right.
    optimize(&table, &options()).await.unwrap();
    assert_eq!(lake.lines(&TableName::silver_trades()).await, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_holds_an_older_snapshot_plans_again() {
    let lake = filled(5, 10).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let table = table(&lake, &TableName::silver_trades()).await;
    assert_eq!(optimize(&table, &options()).await.unwrap().commits, 1);
    let mut repeat = trade(7);
    repeat.partition = -1;
    lake.land(&[repeat, trade(50)]).await;
    silver.refresh().await.unwrap();
    assert_eq!(lake.column(&TableName::silver_trades(), "trade_id").await.len(), 51);
    assert_eq!(
        lake.column(&TableName::silver_trades(), "partition").await[0],
        "-1",
        "the lesser repeat took its place"
    );
}

/// Bronze and silver grow by a commit after another while both are optimized again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_stream_in_are_all_there_once() {
    const COMMITS: i64 = 120;
    let lake = Arc::new(TestLake::new().await);
    let patient = SilverOptions {
        attempts: 1000,
        ..SilverOptions::default()
    };
    let mut silver = Silver::open(lake.lake.clone(), patient).await.unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let eager = OptimizeOptions {
        min_age: Duration::ZERO,
        thorough: true,
        ..options()
    };
    let optimizers = [TableName::bronze_trades(), TableName::silver_trades()].map(|name| {
        let (lake, ended, eager) = (lake.clone(), ended.clone(), eager.clone());
        tokio::spawn(async move {
            let mut commits = 0;
            while !ended.load(Ordering::SeqCst) {
                commits += optimize(&table(&lake, &name).await, &eager).await.unwrap().commits;
            }
            commits
        })
    });
    for commit in 0..COMMITS {
        let mut trades: Vec<Row> = (commit * 5..(commit + 1) * 5).map(trade).collect();
        if commit % 10 == 9 {
            // A lesser repeat of an earlier trade: silver takes rows out of files that optimize may be merging.
            trades.push(Row {
                partition: -1,
                ..trade(commit * 3)
            });
        }
        lake.land(&trades).await;
        silver.refresh().await.unwrap();
    }
    ended.store(true, Ordering::SeqCst);
    let mut commits = 0;
    for optimizer in optimizers {
        commits += optimizer.await.unwrap();
    }
    assert!(commits > 4, "{commits} commits");
    let expected: usize = (COMMITS * 5) as usize;
    assert_eq!(lake.lines(&TableName::bronze_trades()).await.len(), expected + 12);
    let mut ids = lake.column(&TableName::silver_trades(), "trade_id").await;
    ids.dedup();
    assert_eq!(ids.len(), expected);
    assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), expected);
    let lesser = lake.column(&TableName::silver_trades(), "partition").await;
    assert_eq!(lesser.iter().filter(|partition| *partition == "-1").count(), 12);
}

//! Stopped between its two commits, raced by a second instance, after a checkpoint, after others rewrote its files.

use std::collections::HashMap;

use deltalake::kernel::Add;
use ticklake_sql::commit::removal;
use ticklake_sql::{TableName, log};

use super::lake::{Row, TestLake, commit, row};
use super::{open, outcome};
use crate::silver::output::Landed;
use crate::silver::ranges::TAG;

#[tokio::test]
async fn killed_between_quarantine_and_silver_nothing_is_doubled() {
    let lake = TestLake::new().await;
    lake.land(&[row(1, "1"), row(2, "0")]).await;
    open(&lake).await.refresh().await.unwrap();
    // A repeat that contradicts and comes before, one that comes after, a broken one: all of it in the quarantine's commit.
    lake.land(&[
        Row {
            offset: 0,
            ..row(1, "2")
        },
        Row {
            offset: 60,
            ..row(1, "3")
        },
        row(4, "0"),
    ])
    .await;
    let mut killed = open(&lake).await;
    let chunk = killed.next_chunk().await.unwrap().unwrap();
    let plan = killed.plan(&chunk).await.unwrap();
    assert!(matches!(
        killed.commit_quarantine(&chunk, &plan).await.unwrap(),
        Landed::At(_)
    ));
    drop(killed);
    // More arrives before the restart.
    lake.land(&[
        row(5, "0"),
        row(6, "1"),
        Row {
            offset: 61,
            ..row(1, "3")
        },
    ])
    .await;
    open(&lake).await.refresh().await.unwrap();

    let whole = TestLake::new().await;
    whole
        .land(&[
            row(1, "1"),
            row(2, "0"),
            Row {
                offset: 0,
                ..row(1, "2")
            },
            Row {
                offset: 60,
                ..row(1, "3")
            },
            row(4, "0"),
        ])
        .await;
    whole
        .land(&[
            row(5, "0"),
            row(6, "1"),
            Row {
                offset: 61,
                ..row(1, "3")
            },
        ])
        .await;
    open(&whole).await.refresh().await.unwrap();
    assert_eq!(lake.tables().await, whole.tables().await);
    let rules = outcome(&lake).await.1;
    assert_eq!(
        rules,
        [
            "conflicting_repeat",
            "conflicting_repeat",
            "price_not_positive",
            "price_not_positive",
            "price_not_positive"
        ]
    );
}

#[tokio::test]
async fn a_chunk_knows_whether_more_came_behind_it() {
    use crate::silver::chunk;
    let lake = TestLake::new().await;
    for id in 1..4 {
        lake.land(&[row(id, "1")]).await;
    }
    let bronze = lake.lake.table(&TableName::bronze_trades()).await.unwrap();
    let next = async |after, until, rows| {
        let chunk = chunk::next(&bronze, after, until, rows).await.unwrap();
        chunk.map(|chunk| (chunk.to, chunk.reaches_end))
    };
    assert_eq!(next(None, None, 2).await, Some((2, false)));
    assert_eq!(next(None, Some(1), 100).await, Some((1, false)));
    assert_eq!(next(Some(2), None, 100).await, Some((3, true)));
    assert_eq!(next(Some(3), None, 100).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_one_table_do_the_work_once() {
    let lake = TestLake::new().await;
    let (mut one, mut two) = (open(&lake).await, open(&lake).await);
    let mut all = Vec::new();
    for round in 0..12i64 {
        // Every third trade repeats an earlier one, every fifth is broken.
        let trades = (0..20).map(|n| {
            let offset = round * 20 + n;
            let price = if n % 5 == 0 { "0" } else { "1" };
            let id = if n % 3 == 0 { offset / 2 } else { offset };
            Row {
                offset: 1000 - offset,
                ..row(id, price)
            }
        });
        let trades: Vec<Row> = trades.collect();
        lake.land(&trades).await;
        all.extend(trades);
        let (first, second) = tokio::join!(one.refresh(), two.refresh());
        first.unwrap();
        second.unwrap();
    }
    let whole = TestLake::new().await;
    whole.land(&all).await;
    open(&whole).await.refresh().await.unwrap();
    let (raced, single) = (lake.tables().await, whole.tables().await);
    let extra = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
    assert_eq!(extra(&raced.0, &single.0), extra(&single.0, &raced.0));
    assert_eq!((raced.0.len(), raced.1.len()), (single.0.len(), single.1.len()));
}

async fn adds(lake: &TestLake, name: &TableName) -> Vec<Add> {
    let table = lake.lake.table(name).await.unwrap();
    table.files(None).await.unwrap().1
}

#[tokio::test]
async fn ranges_survive_a_checkpoint() {
    let lake = TestLake::new().await;
    let mut silver = open(&lake).await;
    for id in 1..5 {
        lake.land(&[
            row(id, "1"),
            Row {
                offset: 100 + id,
                ..row(id, "2")
            },
        ])
        .await;
        silver.refresh().await.unwrap();
    }
    let tag = |add: &Add| add.tags.as_ref().and_then(|tags| tags.get(TAG).cloned().flatten());
    for name in [TableName::silver_trades(), TableName::silver_quarantine()] {
        let table = lake.lake.table(&name).await.unwrap();
        let mut before: Vec<_> = adds(&lake, &name).await.iter().map(tag).collect();
        log::checkpoint(&table, None).await.unwrap();
        let mut after: Vec<_> = adds(&lake, &name).await.iter().map(tag).collect();
        before.sort();
        after.sort();
        assert_eq!(before, after);
        assert!(after.len() == 4 && after.iter().all(Option::is_some));
    }
    lake.land(&[Row {
        offset: 200,
        ..row(2, "1")
    }])
    .await;
    assert_eq!(open(&lake).await.refresh().await.unwrap().repeats, 1);
}

#[tokio::test]
async fn files_that_others_rewrote_are_read_once_more() {
    let lake = TestLake::new().await;
    let mut running = open(&lake).await;
    lake.land(&[row(1, "1"), row(2, "1")]).await;
    running.refresh().await.unwrap();
    // An optimize that knows nothing of our tags: same rows, another path.
    let silver = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    let old = adds(&lake, silver.name()).await.remove(0);
    let path = old.path.replace("part-", "moved-");
    let store = silver.log_store().object_store(None);
    store
        .copy_opts(&old.path.as_str().into(), &path.as_str().into(), Default::default())
        .await
        .unwrap();
    let new = Add {
        path,
        tags: Some(HashMap::new()),
        data_change: false,
        ..old.clone()
    };
    commit(
        &silver,
        "ticklake/silver.trades/writer",
        vec![new],
        vec![removal(&old, lake.lake.clock().now(), false)],
    )
    .await;

    for mut silver in [running, open(&lake).await] {
        lake.land(&[
            Row {
                offset: 300,
                ..row(2, "1")
            },
            Row {
                offset: 301,
                ..row(1, "7")
            },
        ])
        .await;
        silver.refresh().await.unwrap();
        assert_eq!(outcome(&lake).await, (2, vec!["conflicting_repeat".to_owned()]));
    }
}

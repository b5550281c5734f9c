//! What silver drops is counted, so that bronze = silver + quarantine + repeats at every version of silver.

use ticklake_sql::TableName;

use super::lake::{Row, TestLake, row};
use super::open;
use crate::silver::{Silver, SilverOptions, dropped_total};

async fn total(lake: &TestLake) -> Option<u64> {
    let silver = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    let (_, positions) = silver.positions().await.unwrap();
    dropped_total(silver.name(), &positions)
}

async fn kept(lake: &TestLake) -> u64 {
    let (silver, quarantine) = lake.tables().await;
    (silver.len() + quarantine.len()) as u64
}

#[tokio::test]
async fn repeats_are_counted_by_the_commit_that_comes_after_them() {
    let lake = TestLake::new().await;
    let again = |id: i64, offset: i64| Row { offset, ..row(id, "1") };
    for rows in [
        vec![row(1, "1"), row(2, "1"), again(2, 102)],
        // Without effect: no commit of its own.
        vec![again(1, 103), again(2, 104)],
        vec![row(3, "1")],
        // A lesser repeat comes later, a contradiction comes twice.
        vec![
            Row {
                partition: -1,
                ..row(3, "1")
            },
            Row {
                offset: 200,
                ..row(1, "9")
            },
        ],
        vec![
            Row {
                offset: 201,
                ..row(1, "9")
            },
            row(4, "1"),
        ],
    ] {
        lake.land(&rows).await;
    }
    // Each bronze version is a chunk.
    let options = SilverOptions {
        chunk_rows: 1,
        ..SilverOptions::default()
    };
    Silver::open(lake.lake.clone(), options.clone())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!((kept(&lake).await, total(&lake).await), (5, Some(5)));

    lake.land(&[again(4, 300), row(5, "1")]).await;
    Silver::open(lake.lake.clone(), options)
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!((kept(&lake).await, total(&lake).await), (6, Some(6)));
}

#[tokio::test]
async fn what_another_instance_has_counted_is_not_counted_again() {
    let lake = TestLake::new().await;
    let again = |offset| Row { offset, ..row(1, "1") };
    let (mut one, mut two) = (open(&lake).await, open(&lake).await);
    lake.land(&[row(1, "1")]).await;
    one.refresh().await.unwrap();
    // Read by both without effect; the other one commits it with what comes next.
    lake.land(&[again(101), again(102)]).await;
    assert_eq!(one.refresh().await.unwrap().commits, 0);
    lake.land(&[row(2, "1")]).await;
    two.refresh().await.unwrap();
    assert_eq!(total(&lake).await, Some(2));
    lake.land(&[again(103), row(3, "1")]).await;
    one.refresh().await.unwrap();
    assert_eq!((kept(&lake).await, total(&lake).await), (3, Some(3)));
}

#[tokio::test]
async fn a_kill_between_the_two_commits_loses_no_count() {
    let like = |id, price, offset| Row {
        offset,
        ..row(id, price)
    };
    // The restart reads in one chunk what the killed one read in two, or as it did.
    for chunk_rows in [1 << 20, 1] {
        let lake = TestLake::new().await;
        // A contradiction that is in quarantine already.
        lake.land(&[row(1, "1"), like(1, "2", 50)]).await;
        open(&lake).await.refresh().await.unwrap();
        let mut killed = open(&lake).await;
        // Read without effect: a repeat of a trade, and one of the contradiction.
        lake.land(&[like(1, "1", 60), like(1, "2", 61)]).await;
        assert_eq!(killed.refresh().await.unwrap().commits, 0);
        // Both tables change: a lesser equal of the contradiction, a repeat of it, a broken trade, a new one.
        lake.land(&[like(1, "2", 40), like(1, "2", 62), row(7, "0"), row(8, "1")])
            .await;
        let chunk = killed.next_chunk().await.unwrap().unwrap();
        let plan = killed.plan(&chunk).await.unwrap();
        killed.commit_quarantine(&chunk, &plan).await.unwrap();
        drop(killed);
        lake.land(&[like(1, "2", 63), row(9, "1")]).await;
        let options = SilverOptions {
            chunk_rows,
            ..SilverOptions::default()
        };
        let mut silver = Silver::open(lake.lake.clone(), options).await.unwrap();
        silver.refresh().await.unwrap();
        // Trades 1, 8 and 9, the contradiction and the broken one; of ten rows five say nothing new.
        assert_eq!((kept(&lake).await, total(&lake).await), (5, Some(5)), "{chunk_rows}");
    }
}

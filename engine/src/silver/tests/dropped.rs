//! What silver drops is counted, so that bronze = silver + quarantine + repeats at every version of silver.

use chrono::NaiveDate;
use ticklake_sql::TableName;

use super::lake::{DAY, Row, T0, TestLake, row};
use super::open;
use crate::silver::{Released, Silver, SilverOptions, dropped_total};

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

#[tokio::test]
async fn what_breaks_no_rule_any_more_enters_silver_once() {
    let lake = TestLake::new().await;
    let early = |id: i64| Row {
        ts: T0 - DAY,
        received_at: T0,
        ..row(id, "1")
    };
    let mut strict = SilverOptions::default();
    strict.rules.earliest = NaiveDate::from_ymd_opt(2025, 1, 1).unwrap();
    lake.land(&[early(1), early(2), row(3, "0"), row(4, "1")]).await;
    Silver::open(lake.lake.clone(), strict.clone())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!((kept(&lake).await, lake.tables().await.1.len()), (4, 3));

    let mut silver = Silver::open(lake.lake.clone(), strict).await.unwrap();
    let none = Released { judged: 3, released: 0 };
    assert_eq!(silver.release(None).await.unwrap(), none);
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let two = Released { judged: 2, released: 2 };
    assert_eq!(silver.release(Some("ts_too_early")).await.unwrap(), two);
    let (in_silver, aside) = lake.tables().await;
    assert_eq!((in_silver.len(), aside.len(), total(&lake).await), (3, 1, Some(0)));
    let again = Released { judged: 1, released: 0 };
    assert_eq!(silver.release(None).await.unwrap(), again);
    silver.refresh().await.unwrap();
    assert_eq!(lake.tables().await, (in_silver, aside));
}

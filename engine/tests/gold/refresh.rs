//! Refreshes step by step: trades that come late, are missing, cancelled or corrected; intervals and kinds.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ticklake_engine::gold::{Gold, GoldOptions};

use crate::silver::{Row, StoredBars, TestLake};
use crate::{DAY, MINUTE, START, amendment, expected, options, said, trade};

#[tokio::test(flavor = "multi_thread")]
async fn bars_follow_silver_commit_by_commit() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows = Vec::new();
    for step in 0..6i64 {
        let new: Vec<Row> = (0..40)
            .map(|n| {
                trade(
                    ["A-B", "C-D"][n as usize % 2],
                    step * 25_000_000 + n * 500_000,
                    (step * 40 + n) / 2,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let report = gold.refresh().await.unwrap();
        assert_eq!((report.commits, report.files_added), (1, 1), "one hour, one file");
        assert_eq!(
            said(&lake.gold("1m").await),
            expected(&rows, MINUTE),
            "after step {step}"
        );
    }
    let report = gold.refresh().await.unwrap();
    assert_eq!((report.commits, report.version), (0, None), "nothing new, no commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_trades_correct_their_bars_alone() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows: Vec<Row> = (0..600)
        .filter(|n| ![63, 190].contains(n))
        .map(|n| trade("A-B", n * 1_000_000, n, i128::from(100 + n % 7)))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    let before = lake.gold("1m").await;
    assert_eq!(said(&before), expected(&rows, MINUTE));
    assert_eq!(
        before[&("sim".into(), "A-B".into(), START + MINUTE)].is_complete,
        Some(false),
        "63 is missing"
    );
    lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
    // Two windows: the one between them is computed again too, and is the same.
    let late = [trade("A-B", 63_000_000, 63, 999), trade("A-B", 190_000_000, 190, 999)];
    lake.insert(&late).await;
    rows.extend(late);
    gold.refresh().await.unwrap();
    let after = lake.gold("1m").await;
    assert_eq!(said(&after), expected(&rows, MINUTE));
    for (key, bar) in &after {
        if [START + MINUTE, START + 3 * MINUTE].contains(&key.2) {
            assert_eq!((bar.revision, bar.computed_at), (2, START + 1_000_000));
            assert_eq!(bar.bar.high, 999_000_000_000_000);
        } else {
            assert_eq!(bar, &before[key], "an untouched bar stays as it is");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_without_its_only_trade_is_gone_and_its_neighbour_knows() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let first = lake
        .insert(&[trade("A-B", 0, 1, 100), trade("A-B", 3 * MINUTE, 3, 100)])
        .await;
    let alone = lake.insert(&[trade("A-B", MINUTE, 2, 100)]).await;
    gold.refresh().await.unwrap();
    let complete = |bars: &StoredBars| bars.values().map(|bar| bar.is_complete).collect::<Vec<_>>();
    assert_eq!(complete(&lake.gold("1m").await), [None, Some(true), None]);
    lake.change(&[], &alone, true, "REFRESH").await;
    gold.refresh().await.unwrap();
    assert_eq!(complete(&lake.gold("1m").await), [Some(false), Some(false)]);
    lake.change(&[], &first, true, "REFRESH").await;
    gold.refresh().await.unwrap();
    assert!(lake.gold("1m").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_missing_between_two_bars_is_missing_in_either() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let complete = async |gold: &mut Gold, trades: &[Row]| {
        lake.insert(trades).await;
        gold.refresh().await.unwrap();
        let bars = lake.gold("1m").await;
        bars.values()
            .map(|bar| (bar.is_complete, bar.revision))
            .collect::<Vec<_>>()
    };
    let minutes = |minutes: &[(i64, i64)]| -> Vec<Row> {
        let one = |(at, seq): &(i64, i64)| trade("A-B", at * MINUTE, *seq, 100);
        minutes.iter().map(one).collect()
    };
    assert_eq!(
        complete(&mut gold, &minutes(&[(0, 1), (1, 2)])).await,
        [(None, 1), (None, 1)]
    );
    // 4 comes, two hours later: 3 may have been the last trade of the minute before, or the first of this one.
    assert_eq!(
        complete(&mut gold, &minutes(&[(121, 4)])).await,
        [(None, 1), (Some(false), 2), (Some(false), 1)]
    );
    assert_eq!(
        complete(&mut gold, &minutes(&[(2, 3)])).await,
        [(None, 1), (Some(true), 3), (Some(true), 1), (None, 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_at_once_gives_each_bar_its_first_revision() {
    let lake = TestLake::new().await;
    let rows: Vec<Row> = (0..6 * 24)
        .flat_map(|hour| ["A-B", "C-D"].map(|symbol| trade(symbol, hour * 60 * MINUTE, hour, 100)))
        .collect();
    lake.insert(&rows).await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let report = gold.refresh().await.unwrap();
    assert_eq!((report.commits, report.rows_out), (1, 2 * 6 * 24));
    let bars = lake.gold("1m").await;
    assert_eq!(said(&bars), expected(&rows, MINUTE));
    assert!(bars.values().all(|bar| bar.revision == 1));
    assert_eq!(
        report.files_added,
        6 * 24,
        "files that were written twice are committed once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_and_corrections_reopen_the_bar_that_they_name() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let rows: Vec<Row> = (0..10)
        .map(|n| trade("A-B", n * 10_000_000, n, i128::from(100 + n)))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    lake.insert(&[
        amendment("cancel", &rows[0], 3 * MINUTE, 1),
        amendment("correct", &rows[9], 3 * MINUTE, 500),
        amendment("correct", &rows[3], 3 * MINUTE, 7),
    ])
    .await;
    lake.insert(&[amendment("correct", &rows[3], 4 * MINUTE, 8)]).await;
    gold.refresh().await.unwrap();
    let bars = lake.gold("1m").await;
    let mut amended = rows[1..].to_vec();
    amended[2].trade.price = 8_000_000_000_000;
    amended[8].trade.price = 500_000_000_000_000;
    amended
        .iter_mut()
        .filter(|row| [3, 9].contains(&row.trade.seq))
        .for_each(|row| row.trade.side = amendment_side(row));
    assert_eq!(
        bars.values().map(|bar| bar.bar.clone()).collect::<Vec<_>>(),
        expected(&amended, MINUTE)
            .into_values()
            .map(|bar| bar.0)
            .collect::<Vec<_>>()
    );
    assert!(bars.values().all(|bar| bar.revision >= 2));
}

fn amendment_side(row: &Row) -> Option<String> {
    let at = if row.trade.seq == 3 { 4 * MINUTE } else { 3 * MINUTE };
    amendment("correct", row, at, 1).trade.side
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_does_not_fit_is_withheld_and_reported() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut wide = trade("WIDE", 0, 1, 1);
    (wide.trade.price, wide.trade.qty) = (
        9_999_999_999_999_999_999_999_999_999,
        9_999_999_999_999_999_999_999_999_999,
    );
    lake.insert(&[wide, trade("A-B", 0, 1, 100)]).await;
    let report = gold.refresh().await.unwrap();
    assert_eq!(report.quarantined, 1);
    assert_eq!(
        lake.gold("1m").await.into_keys().collect::<Vec<_>>(),
        [("sim".to_owned(), "A-B".to_owned(), START)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_and_retention_of_silver_change_no_bar() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let rows: Vec<Row> = (0..10).map(|n| trade("A-B", n * 10_000_000, n, 100)).collect();
    let adds = lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    let before = lake.gold("1m").await;
    let moved = lake.change(&rows, &adds, false, "OPTIMIZE").await;
    assert_eq!(gold.refresh().await.unwrap().commits, 0);
    lake.change(&[], &moved, true, "RETENTION").await;
    assert_eq!(gold.refresh().await.unwrap().commits, 0);
    lake.now_us.fetch_add(61_000_000, Ordering::SeqCst);
    assert_eq!(
        gold.refresh().await.unwrap().commits,
        1,
        "a minute later the position alone"
    );
    assert_eq!(lake.gold("1m").await, before);
    assert_eq!(
        Gold::open(lake.lake.clone(), options())
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap()
            .commits,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_costs_its_minute_and_not_its_day() {
    let lake = TestLake::new().await;
    let options = GoldOptions {
        interval: "1d".to_owned(),
        ..options()
    };
    let mut gold = Gold::open(lake.lake.clone(), options).await.unwrap();
    let mut rows: Vec<Row> = (0..1_440)
        .flat_map(|n| ["A-B", "C-D"].map(|symbol| trade(symbol, n * MINUTE, n, i128::from(100 + n % 13))))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    for (at, seq) in [(DAY - 5, 1_440), (700 * MINUTE + 1, 1_441)] {
        let late = [trade("A-B", at, seq, 3)];
        lake.insert(&late).await;
        rows.extend(late);
        let report = gold.refresh().await.unwrap();
        assert_eq!(
            (report.rows_in, report.rows_out),
            (2, 1),
            "the other trade of the minute, and this one"
        );
        assert_eq!(said(&lake.gold("1d").await), expected(&rows, DAY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_intervals_and_kinds_have_tables_of_their_own() {
    let lake = TestLake::new().await;
    let mut rows: Vec<Row> = (0..50)
        .map(|n| trade("A-B", n * 61_000_000, n, i128::from(100 + n)))
        .collect();
    for row in &mut rows[25..] {
        row.venue = "other".to_owned();
    }
    let mut aggregates = rows.clone();
    for row in &mut aggregates {
        (row.kind, row.trade.count) = ("agg".to_owned(), 3);
    }
    lake.insert(&rows).await;
    lake.insert(&aggregates).await;
    let kinds = BTreeMap::from([("other".to_owned(), "agg".to_owned())]);
    for (interval, width) in [("5m", 5 * MINUTE), ("1d", DAY)] {
        let options = GoldOptions {
            interval: interval.to_owned(),
            kinds: kinds.clone(),
            ..options()
        };
        Gold::open(lake.lake.clone(), options)
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap();
        let mut wanted = rows[..25].to_vec();
        wanted.extend(aggregates[25..].iter().cloned().map(|row| Row {
            kind: "trade".to_owned(),
            ..row
        }));
        assert_eq!(said(&lake.gold(interval).await), expected(&wanted, width), "{interval}");
    }
}

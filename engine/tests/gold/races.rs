//! Two refreshes at once, and refreshes that are cut off at any point.

use ticklake_engine::gold::Gold;

use crate::silver::{Row, TestLake};
use crate::{MINUTE, expected, options, said, trade};

#[tokio::test(flavor = "multi_thread")]
async fn two_refreshes_that_race_leave_each_bar_once() {
    let lake = TestLake::new().await;
    let mut one = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut other = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows = Vec::new();
    for step in 0..5i64 {
        let new: Vec<Row> = (0..30)
            .map(|n| {
                trade(
                    "A-B",
                    step * 20_000_000 + n * 1_000_000,
                    step * 30 + n,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let (first, second) = tokio::join!(one.refresh(), other.refresh());
        let commits = first.unwrap().commits + second.unwrap().commits;
        assert!((1..=2).contains(&commits));
        assert_eq!(
            said(&lake.gold("1m").await),
            expected(&rows, MINUTE),
            "after step {step}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_cut_at_any_point_is_made_good_by_the_next() {
    let lake = TestLake::new().await;
    let mut rows = Vec::new();
    let mut cut = 0;
    for step in 0..24i64 {
        let new: Vec<Row> = (0..20)
            .map(|n| {
                trade(
                    ["A-B", "C-D"][n as usize % 2],
                    step * 9_000_000 + n * 400_000,
                    (step * 20 + n) / 2,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
        // Dropping the future stops it at whatever it waits for: a read, a data file, the commit.
        let patience = std::time::Duration::from_millis(step as u64);
        cut += i32::from(tokio::time::timeout(patience, gold.refresh()).await.is_err());
    }
    assert!(cut > 3, "too few refreshes were cut to tell: {cut}");
    Gold::open(lake.lake.clone(), options())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!(said(&lake.gold("1m").await), expected(&rows, MINUTE));
}

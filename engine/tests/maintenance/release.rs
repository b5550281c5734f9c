//! A release of quarantined trades killed at each of its points, and more rows coming before the next one: in the end the tables are what one
//! refresh under the rules of now makes of bronze, and nothing is counted twice.

use std::time::Duration;

use chrono::NaiveDate;
use ticklake_engine::silver::{Silver, SilverOptions, dropped_total};
use ticklake_sql::TableName;

use crate::kills::{ended, start};
use crate::lake::{DAY, Row, T0, TestLake, row};

const HOUR: i64 = 3_600_000_000;

/// What they were before they were relaxed: nothing before 2025, and no time ahead of the arrival by more than a second.
fn strict() -> SilverOptions {
    let mut options = SilverOptions::default();
    options.rules.earliest = NaiveDate::from_ymd_opt(2025, 1, 1).unwrap();
    options.rules.ts_ahead = Duration::from_secs(1);
    options
}

/// Trades that the strict rules set aside and the default ones do not, beside valid ones of the same keys.
fn rows() -> [Vec<Row>; 3] {
    let early = |id: i64, offset: i64| Row {
        ts: T0 - DAY,
        received_at: T0,
        offset,
        ..row(id, "1")
    };
    let ahead = |id: i64, offset: i64| Row {
        received_at: T0 - HOUR,
        offset,
        ..row(id, "1")
    };
    let valid = |id: i64, offset: i64| Row { offset, ..row(id, "1") };
    [
        // 1 twice; 2 contradicts what silver holds and comes before it, 3 after it; 4 repeats it and comes before, 5 after.
        vec![early(1, 1), early(1, 2), early(2, 3), ahead(4, 4), valid(3, 5)],
        vec![valid(2, 20), early(3, 21), valid(4, 22), valid(5, 23), ahead(5, 24)],
        // Contradictions that stay: one of the trade that enters, one of the trade that leaves.
        vec![
            Row {
                offset: 30,
                ..row(2, "7")
            },
            early(6, 31),
            row(7, "0"),
        ],
    ]
}

/// Repeats and a contradiction that a refresh meets after the kill.
fn later() -> Vec<Row> {
    let like = |id, price, offset| Row {
        offset,
        ..row(id, price)
    };
    vec![like(2, "1", 40), like(4, "1", 41), like(2, "9", 42), like(8, "1", 43)]
}

async fn refresh(lake: &TestLake, options: SilverOptions) {
    let mut silver = Silver::open(lake.lake.clone(), options).await.unwrap();
    silver.refresh().await.unwrap();
}

/// Rows of silver and quarantine, and how many were dropped for an equal one.
async fn made(lake: &TestLake) -> (Vec<String>, Vec<String>, Option<u64>) {
    let (silver, quarantine) = lake.tables().await;
    let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    let (_, positions) = table.positions().await.unwrap();
    (silver, quarantine, dropped_total(table.name(), &positions))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_killed_anywhere_is_made_good_and_counts_once() {
    let all: Vec<Row> = rows().into_iter().flatten().chain(later()).collect();
    let whole = TestLake::new().await;
    for rows in rows() {
        whole.land(&rows).await;
    }
    whole.land(&later()).await;
    refresh(&whole, SilverOptions::default()).await;
    let expected = made(&whole).await;
    assert_eq!(
        expected.0.len() + expected.1.len() + expected.2.unwrap() as usize,
        all.len(),
        "each row once: {expected:#?}"
    );

    for failpoint in ["release-set-aside", "release-entered", "release-counted", ""] {
        let lake = TestLake::new().await;
        for rows in rows() {
            lake.land(&rows).await;
        }
        refresh(&lake, strict()).await;
        assert_eq!(
            ended(start(&lake, "release", 1, failpoint)),
            failpoint.is_empty(),
            "{failpoint} was not reached"
        );
        lake.land(&later()).await;
        refresh(&lake, SilverOptions::default()).await;
        assert!(ended(start(&lake, "release", 1, "")));
        assert_eq!(made(&lake).await, expected, "after {failpoint:?}");
        assert!(ended(start(&lake, "release", 1, "")));
        assert_eq!(made(&lake).await, expected, "again after {failpoint:?}");
    }
}

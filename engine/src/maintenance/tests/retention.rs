//! Whole partitions go, the low-water mark rises, and what is derived keeps what it has.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use ticklake_sql::TableName;

use super::lake::{DAY as DAY_US, TestLake};
use super::*;
use crate::maintenance::{RetentionOptions, RetentionReport, low_water, optimize, retain};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Trades of `days` dates from 2025-01-01 on, ten a date, in silver and gold.
async fn dated(days: i64) -> TestLake {
    let lake = TestLake::new().await;
    for day in 0..days {
        let trades: Vec<Row> = (day * 10..day * 10 + 10)
            .map(|id| {
                let mut trade = trade(id);
                trade.ts = super::lake::T0 + day * DAY_US + id * 1_000_000;
                trade.received_at = trade.ts + 1;
                trade
            })
            .collect();
        lake.land(&trades).await;
        refresh(&lake).await;
    }
    lake
}

async fn refresh(lake: &TestLake) {
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    gold.refresh().await.unwrap();
}

async fn run(lake: &TestLake, name: &TableName, days: u32, dry_run: bool) -> RetentionReport {
    let tables = lake.lake.tables().await.unwrap();
    let options = RetentionOptions {
        keep: DAY * days,
        dry_run,
    };
    retain(&table(lake, name).await, &tables, options).await.unwrap()
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_past_their_time_go_and_bars_stay() {
    let lake = dated(6).await;
    let (name, gold) = (TableName::silver_trades(), TableName::gold_ohlcv("1m"));
    let bars = lake.lines(&gold).await;
    // Noon of January 7th.
    pass(&lake, 5 * DAY + DAY / 2);
    let report = run(&lake, &name, 3, true).await;
    assert_eq!((report.dates.len(), report.files, report.rows), (3, 3, 30));
    assert_eq!(lake.lines(&name).await.len(), 60, "a dry run takes nothing out");
    let report = run(&lake, &name, 3, false).await;
    assert_eq!(report.dates.first(), Some(&date("2025-01-01")));
    assert_eq!(report.dates.last(), Some(&date("2025-01-03")));
    assert_eq!(report.low_water, Some(date("2025-01-04")), "the fourth is whole");
    assert_eq!(lake.lines(&name).await.len(), 30);
    let (_, positions) = table(&lake, &name).await.positions().await.unwrap();
    assert_eq!(low_water::of(&name, &positions), Some(date("2025-01-04")));

    refresh(&lake).await;
    assert_eq!(lake.lines(&gold).await, bars, "bars outlive their trades");
    let again = run(&lake, &name, 3, false).await;
    assert_eq!((again.files, again.version), (0, None));
    assert_eq!(again.low_water, Some(date("2025-01-04")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_silver_has_not_read_stays() {
    let lake = dated(2).await;
    let name = TableName::bronze_trades();
    lake.land(&(20..30).map(trade).collect::<Vec<_>>()).await;
    pass(&lake, 40 * DAY);
    let report = run(&lake, &name, 30, false).await;
    assert_eq!((report.files, report.version), (0, None));
    assert_eq!(report.held_back, BTreeSet::from([date("2025-01-02")]));
    refresh(&lake).await;
    let silver = lake.lines(&TableName::silver_trades()).await;
    let report = run(&lake, &name, 30, false).await;
    assert_eq!((report.files, report.rows), (3, 30));
    assert!(lake.lines(&name).await.is_empty());
    refresh(&lake).await;
    assert_eq!(lake.lines(&TableName::silver_trades()).await, silver);
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_and_retention_of_one_date_leave_nothing_of_it() {
    let lake = dated(3).await;
    let name = TableName::silver_trades();
    lake.land(&[trade(1000), trade(1001)]).await;
    refresh(&lake).await;
    pass(&lake, 40 * DAY);
    let silver = table(&lake, &name).await;
    let tables = lake.lake.tables().await.unwrap();
    let thirty = RetentionOptions {
        keep: DAY * 30,
        dry_run: false,
    };
    let few = options();
    let (optimized, retained) = tokio::join!(optimize(&silver, &few), retain(&silver, &tables, thirty));
    optimized.unwrap();
    assert_eq!(retained.unwrap().dates.len(), 3);
    assert!(lake.lines(&name).await.is_empty());
}

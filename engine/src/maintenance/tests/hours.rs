//! What hours of a live feed leave in a lake: a commit after another through all layers, the jobs on their schedule, time compressed.

use ticklake_sql::TableName;

use super::lake::{T0, TestLake};
use super::*;
use crate::maintenance::{VacuumOptions, optimize, vacuum};

const HOURS: i64 = 4;
/// One in thirty seconds stands for the sixty of a live feed: the jobs run as often as they do there.
const COMMITS_AN_HOUR: i64 = 120;
const PAUSE: Duration = Duration::from_secs(30);
const COMMITS_BETWEEN_OPTIMIZES: i64 = 20;
const TRADES: i64 = 5;
/// Files of the ten minutes that optimize leaves alone, and the larger ones that wait for their like.
const ACTIVE: usize = 20 + 6;

/// Trades of one commit, at the time of the clock.
fn trades(commit: i64) -> Vec<Row> {
    (commit * TRADES..(commit + 1) * TRADES)
        .map(|id| {
            let ts = T0 + commit * PAUSE.as_micros() as i64 + id % TRADES;
            Row {
                ts,
                received_at: ts + 1,
                ..trade(id)
            }
        })
        .collect()
}

/// As the schedule does it where `up` keeps its own lake, its window an hour instead of two.
async fn maintain(lake: &TestLake, commit: i64) {
    let tables = lake.lake.tables().await.unwrap();
    for table in &tables {
        if commit % COMMITS_BETWEEN_OPTIMIZES == 0 {
            optimize(table, &options()).await.unwrap();
        }
        if commit % COMMITS_AN_HOUR == 0 {
            let hour = VacuumOptions {
                time_travel: Some(Duration::from_secs(3600)),
                full_every: None,
                ..VacuumOptions::default()
            };
            vacuum(table, &tables, &hour).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_of_commits_leave_few_files() {
    let lake = TestLake::new().await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    let commits = HOURS * COMMITS_AN_HOUR;
    let (bronze_trades, silver_trades, bars) = (
        TableName::bronze_trades(),
        TableName::silver_trades(),
        TableName::gold_ohlcv("1m"),
    );
    for commit in 1..=commits {
        lake.land(&trades(commit - 1)).await;
        silver.refresh().await.unwrap();
        gold.refresh().await.unwrap();
        pass(&lake, PAUSE);
        maintain(&lake, commit).await;
        if commit % COMMITS_BETWEEN_OPTIMIZES == 0 {
            for name in [&bronze_trades, &silver_trades] {
                let active = files(&table(&lake, name).await).await.len();
                assert!(active <= ACTIVE, "{active} files in {name} after {commit} commits");
            }
        }
    }
    assert_eq!(
        files(&table(&lake, &bars).await).await.len() as i64,
        HOURS,
        "a file an hour"
    );
    // Those of the hour that can be travelled back to, and no more.
    for name in [&bronze_trades, &silver_trades, &bars] {
        let on_disk = on_disk(&lake, name).len();
        assert!(
            on_disk <= COMMITS_AN_HOUR as usize + 2 * ACTIVE,
            "{on_disk} files of {name} on disk"
        );
    }
    let rows = (commits * TRADES) as usize;
    assert_eq!(lake.lines(&bronze_trades).await.len(), rows);
    let mut ids = lake.column(&silver_trades, "trade_id").await;
    ids.dedup();
    assert_eq!(ids.len(), rows, "each trade once");
    let counts = lake.column(&bars, "trade_count").await;
    let counted: usize = counts.iter().map(|count| count.parse::<usize>().unwrap()).sum();
    assert_eq!(counted, rows, "each trade in its bar");
}

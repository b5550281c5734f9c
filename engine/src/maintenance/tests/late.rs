//! What comes late finds merged files as it would have found the small ones, and never takes the place of what retention has taken out.

use ticklake_sql::TableName;

use super::lake::{DAY as DAY_US, T0, TestLake};
use super::*;
use crate::maintenance::{RetentionOptions, optimize, retain};

async fn refresh(lake: &TestLake) {
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    gold.refresh().await.unwrap();
}

async fn optimize_all(lake: &TestLake) -> u64 {
    let mut merged = 0;
    for table in lake.lake.tables().await.unwrap() {
        merged += optimize(&table, &options()).await.unwrap().files_removed;
    }
    merged
}

/// What may come after its time: a repeat that wins, one that loses, one that differs, a trade of an old window, a cancel, a correction.
fn late() -> Vec<Row> {
    let later = |mut row: Row| {
        row.offset += 100_000;
        row
    };
    let amending = |id: i64, kind, reference| Row {
        kind,
        reference: Some(reference),
        id: id.to_string(),
        ..later(trade(9))
    };
    vec![
        Row {
            partition: -1,
            ..later(trade(7))
        },
        later(trade(8)),
        Row {
            price: "1.5".into(),
            ..later(trade(10))
        },
        Row {
            ts: T0 + 61_000_000,
            id: "5000".into(),
            ..later(trade(9))
        },
        amending(6_000, "cancel", "12"),
        amending(6_001, "correct", "15"),
    ]
}

/// The tables of a lake to which trades came late, with everything merged whenever something had come, or nothing ever.
async fn after_late_trades(is_optimized: bool) -> [Vec<String>; 3] {
    let lake = filled(12, 20).await;
    let mut merged = 0;
    for row in late() {
        if is_optimized {
            merged += optimize_all(&lake).await;
        }
        lake.land(&[row]).await;
        refresh(&lake).await;
        pass(&lake, Duration::from_secs(2 * 3600));
    }
    assert_eq!(merged > 20, is_optimized, "{merged} files merged");
    let (trades, quarantine) = lake.tables().await;
    [trades, quarantine, lake.lines(&TableName::gold_ohlcv("1m")).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn late_trades_do_the_same_to_merged_files() {
    let (merged, small) = (after_late_trades(true).await, after_late_trades(false).await);
    assert_eq!(merged[0].len(), 12 * 20 + 3);
    assert!(!merged[1].is_empty(), "a repeat that differs is in quarantine");
    assert_eq!(merged, small);
}

/// Trades of six dates, merged date by date, the first three of which retention has taken out of silver. Their bars are all there.
async fn retained() -> (TestLake, Vec<String>) {
    let lake = TestLake::new().await;
    for half in 0..12 {
        let trades: Vec<Row> = (half * 5..half * 5 + 5).map(|id| dated(id, half / 2)).collect();
        lake.land(&trades).await;
        refresh(&lake).await;
    }
    pass(&lake, Duration::from_secs(5 * 24 * 3600 + 12 * 3600));
    let silver = table(&lake, &TableName::silver_trades()).await;
    assert_eq!(optimize(&silver, &options()).await.unwrap().files_removed, 12);
    refresh(&lake).await;
    let tables = lake.lake.tables().await.unwrap();
    let three = RetentionOptions {
        keep: Duration::from_secs(3 * 24 * 3600),
        dry_run: false,
    };
    assert_eq!(retain(&silver, &tables, three).await.unwrap().dates.len(), 3);
    let bars = lake.lines(&TableName::gold_ohlcv("1m")).await;
    (lake, bars)
}

fn dated(id: i64, day: i64) -> Row {
    let ts = T0 + day * DAY_US + id * 1_000_000;
    Row {
        ts,
        received_at: ts + 1,
        ..trade(id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_for_a_date_that_is_gone_is_set_aside_and_its_bars_stay() {
    let (lake, bars) = retained().await;
    let mut repeat = dated(3, 0);
    repeat.offset += 100_000;
    lake.land(&[repeat, dated(1_003, 1)]).await;
    refresh(&lake).await;
    assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), 30);
    assert_eq!(
        lake.column(&TableName::silver_quarantine(), "rule").await,
        ["ts_too_early", "ts_too_early"]
    );
    assert_eq!(lake.lines(&TableName::gold_ohlcv("1m")).await, bars);
}

/// The first bar of the first whole date meets the last one before it, whose trades are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_bar_whose_trades_are_gone_outlives_a_change_of_its_neighbour() {
    let (lake, bars) = retained().await;
    let first = Row {
        symbol: trade(30).symbol,
        ..dated(28, 3)
    };
    lake.land(&[first]).await;
    refresh(&lake).await;
    assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), 31);
    let after = lake.lines(&TableName::gold_ohlcv("1m")).await;
    let gone: Vec<_> = bars.iter().filter(|bar| !after.contains(bar)).collect();
    assert_eq!((after.len(), gone.len()), (bars.len(), 1), "one bar changed: {gone:?}");
}

//! A range computed again from bronze: what was damaged is whole afterwards, what lies outside is left alone, and what bronze has lost is not touched.

use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::{ErrorKind, TableName};

use super::lake::{DAY, Row, T0, TestLake, commit, row};
use super::open;
use crate::rebuild::{self, RebuildRange};
use crate::silver::SilverOptions;
use crate::{RefreshReport, Result};

async fn rebuilt(lake: &TestLake, from: i64, until: i64, symbols: &[&str], force: bool) -> Result<RefreshReport> {
    let symbols: Vec<String> = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
    let range = RebuildRange::new(from, until, &symbols)?;
    rebuild::silver(&lake.lake, &SilverOptions::default(), &range, force).await
}

/// Trades of two days and two symbols, with a repeat, a contradiction and a broken one each day.
async fn filled() -> TestLake {
    let lake = TestLake::new().await;
    for day in 0..2 {
        let at = |id: i64, offset: i64, price: &str, symbol| Row {
            symbol,
            offset,
            ts: T0 + day * DAY + id,
            received_at: T0 + day * DAY + id,
            ..row(day * 100 + id, price)
        };
        let mut rows: Vec<Row> = (1..6).map(|id| at(id, day * 1000 + id, "100", "BTC-USDT")).collect();
        rows.extend((1..6).map(|id| at(id, day * 1000 + 50 + id, "7", "ETH-USDT")));
        rows.extend([
            at(1, day * 1000 + 90, "100", "BTC-USDT"),
            at(2, day * 1000 + 91, "101", "BTC-USDT"),
            at(9, day * 1000 + 92, "0", "ETH-USDT"),
        ]);
        lake.land(&rows).await;
        open(&lake).await.refresh().await.unwrap();
    }
    lake
}

/// Takes every file of a table out of it, as no job of ours would.
async fn lose(lake: &TestLake, name: &TableName) {
    let table = lake.lake.table(name).await.unwrap();
    let snapshot = table.load(None).await.unwrap();
    #[allow(deprecated)]
    let removes = snapshot
        .snapshot()
        .unwrap()
        .log_data()
        .iter()
        .map(|file| removal(&file.add_action(), lake.lake.clock().now(), true))
        .collect();
    commit(&table, &format!("ticklake/{name}/writer"), Vec::new(), removes).await;
}

#[tokio::test]
async fn a_lost_range_comes_back_from_bronze() {
    let lake = filled().await;
    let whole = lake.tables().await;
    assert_eq!((whole.0.len(), whole.1.len()), (20, 4));
    lose(&lake, &TableName::silver_trades()).await;
    lose(&lake, &TableName::silver_quarantine()).await;
    let first = rebuilt(&lake, T0, T0 + DAY, &[], false).await.unwrap();
    assert_eq!(
        (
            first.rows_in,
            first.rows_out,
            first.quarantined,
            first.repeats,
            first.commits
        ),
        (13, 10, 2, 1, 2)
    );
    let second = rebuilt(&lake, T0 + DAY, T0 + 2 * DAY, &["ETH-USDT"], false)
        .await
        .unwrap();
    assert_eq!((second.rows_in, second.rows_out, second.quarantined), (6, 5, 1));
    rebuilt(&lake, T0 + DAY + 1, T0 + DAY + 6, &["BTC-USDT"], false)
        .await
        .unwrap();
    assert_eq!(lake.tables().await, whole);
    // Once more, of whole files and of parts of them.
    for (from, until) in [(T0, T0 + 2 * DAY), (T0 + 3, T0 + DAY + 4)] {
        let again = rebuilt(&lake, from, until, &[], false).await.unwrap();
        assert_eq!(again.superseded, again.rows_out, "as many rows as before");
        assert_eq!(lake.tables().await, whole);
    }
}

#[tokio::test]
async fn a_refresh_goes_on_after_a_rebuild() {
    let lake = filled().await;
    let mut running = open(&lake).await;
    rebuilt(&lake, T0, T0 + DAY, &[], false).await.unwrap();
    lake.land(&[
        Row {
            offset: 5_000,
            ..row(3, "100")
        },
        row(77, "5"),
    ])
    .await;
    let report = running.refresh().await.unwrap();
    assert_eq!((report.rows_out, report.repeats), (1, 1));
    assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), 21);
}

#[tokio::test]
async fn a_range_below_the_low_water_mark_is_refused() {
    let lake = filled().await;
    let bronze = lake.lake.table(&TableName::bronze_trades()).await.unwrap();
    let mark = Commit {
        operation: "RETENTION".into(),
        txns: vec![Txn {
            app_id: "ticklake/bronze.trades/low-water".into(),
            version: T0 / DAY,
        }],
        ..Commit::default()
    };
    let marked = Committer::open(&bronze).await.unwrap().commit(mark).await.unwrap();
    assert!(matches!(marked, Outcome::Committed { .. }));
    let refused = rebuilt(&lake, T0, T0 + 2 * DAY, &[], false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let message = refused.to_string();
    assert!(
        message.contains("2025-01-02") && message.contains("--force"),
        "{message}"
    );
    rebuilt(&lake, T0 + DAY, T0 + 2 * DAY, &[], false).await.unwrap();
    rebuilt(&lake, T0, T0 + 2 * DAY, &[], true).await.unwrap();
    assert!(rebuilt(&lake, T0, T0, &[], false).await.is_err());
}

//! A range computed again from bronze: what was damaged is whole afterwards, what lies outside is left alone, and what bronze has lost is not touched.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Decimal128Type;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{ErrorKind, TableName};

use super::lake::{DAY, Row, T0, TestLake, commit, row};
use super::open;
use crate::rebuild::{self, Beside, Diff, RebuildRange, Swap};
use crate::silver::SilverOptions;
use crate::silver::read::{self, FileRef};
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

async fn beside(lake: &TestLake, options: &SilverOptions, id: &str, swap: Swap) -> Result<Beside> {
    let range = RebuildRange::new(T0, T0 + 2 * DAY, &[])?;
    rebuild::silver_beside(&lake.lake, options, &range, false, id, swap).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_beside_its_table_says_what_it_changes_and_is_swapped_in() {
    let lake = filled().await;
    let whole = lake.tables().await;
    let said = |diff: &Diff| {
        (
            diff.rows_before,
            diff.rows_after,
            diff.added,
            diff.removed,
            diff.changed,
        )
    };
    let same = beside(&lake, &SilverOptions::default(), "a", Swap::In).await.unwrap();
    assert_eq!((said(&same.diff), same.diff.by_field.len()), ((20, 20, 0, 0, 0), 0));
    assert_eq!(lake.tables().await, whole);

    // Other rules: the first day is too early. Looked at only, then swapped in, then undone.
    let mut strict = SilverOptions::default();
    strict.rules.earliest = "2025-01-02".parse().unwrap();
    let looked = beside(&lake, &strict, "b", Swap::No).await.unwrap();
    assert_eq!(said(&looked.diff), (20, 10, 0, 10, 0));
    assert_eq!(lake.tables().await, whole, "nothing is swapped in");
    let kept = looked.kept.unwrap();
    assert_eq!(kept.to_string(), "silver.trades__rebuild_b");
    assert_eq!(lake.lines(&kept).await.len(), 10, "anybody can read it");
    assert!(
        lake.lake
            .tables()
            .await
            .unwrap()
            .iter()
            .all(|table| *table.name() != kept)
    );
    assert_eq!(rebuild::clean(&lake.lake).await.unwrap(), []);
    lake.now_us.fetch_add(DAY, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(rebuild::clean(&lake.lake).await.unwrap(), [kept]);
    let swapped = beside(&lake, &strict, "c", Swap::In).await.unwrap();
    assert_eq!(
        (said(&swapped.diff), swapped.swapped.unwrap().version.is_some()),
        ((20, 10, 0, 10, 0), true)
    );
    assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), 10);
    assert_eq!(
        lake.lake.rebuilt_tables().await.unwrap(),
        [],
        "the table beside is gone"
    );
    let back = beside(&lake, &SilverOptions::default(), "d", Swap::In).await.unwrap();
    assert_eq!(said(&back.diff), (10, 20, 10, 0, 0));
    assert_eq!(lake.tables().await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_by_field() {
    let lake = filled().await;
    let whole = lake.tables().await;
    // As if a fault had written other numbers: the price of one day's trades of a symbol, and one row lost.
    let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    let (_, adds) = table.files(None).await.unwrap();
    let add = adds.iter().find(|add| add.path.contains("2025-01-01")).unwrap();
    let file = FileRef::of(add);
    let rows = read::rows(&table, &[file], &table.spec().row_schema()).await.unwrap();
    let prices = rows
        .column_by_name("price")
        .unwrap()
        .as_primitive::<Decimal128Type>()
        .clone();
    let doubled: arrow::array::Decimal128Array = prices.iter().map(|price| price.map(|price| price * 2)).collect();
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of("price").unwrap()] = Arc::new(doubled.with_precision_and_scale(28, 12).unwrap());
    let wrong = RecordBatch::try_new(rows.schema(), columns)
        .unwrap()
        .slice(1, rows.num_rows() - 1);
    let partition = [("date".to_owned(), "2025-01-01".to_owned())].into();
    let written = data_file::write(&table, partition, vec![wrong], FileOptions::default())
        .await
        .unwrap();
    let gone = removal(add, lake.lake.clock().now(), true);
    commit(&table, "ticklake/silver.trades/writer", vec![written], vec![gone]).await;
    let mended = beside(&lake, &SilverOptions::default(), "a", Swap::In).await.unwrap();
    let diff = mended.diff;
    assert_eq!((diff.added, diff.removed, diff.changed), (1, 0, 9));
    assert_eq!(diff.by_field, [("price".to_owned(), 9)].into());
    assert_eq!(lake.tables().await, whole);
}

//! A table partitioned otherwise, and files put in order: the same rows, beside writers that go on, and for readers that are behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ticklake_sql::commit::{Commit, Committer};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Durability, ErrorKind, Lake, LakeOptions};

use super::*;
use crate::backup::{To, rollback};
use crate::gold::recount;
use crate::maintenance::optimize::order::RowOrder;
use crate::maintenance::{cluster, optimize};
use crate::silver::tests::partitions::scanned;

const BY_SYMBOL: [&str; 2] = ["symbol", "date"];

/// The same lake with other settings, at the same time.
fn wanting(lake: &TestLake, columns: &[&str]) -> Lake {
    let tables = [TableName::silver_trades(), TableName::gold_ohlcv("1m")];
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let options = LakeOptions {
        durability: Durability::Os,
        partition_columns: tables.into_iter().map(|table| (table, columns.clone())).collect(),
        ..LakeOptions::default()
    };
    Lake::open(lake.lake.uri(), options, lake.lake.clock().clone()).unwrap()
}

async fn columns(lake: &TestLake, name: &TableName) -> Vec<String> {
    table(lake, name).await.spec().partition_columns.clone()
}

async fn assert_bars_are_right(lake: &TestLake) {
    let mut found = Vec::new();
    recount(&lake.lake, &GoldOptions::default(), &Default::default(), |difference| {
        found.push(difference)
    })
    .await
    .unwrap();
    assert_eq!(found, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_partitioned_otherwise_and_back_with_the_same_rows() {
    let lake = filled(6, 30).await;
    for name in [TableName::silver_trades(), TableName::gold_ohlcv("1m")] {
        let rows = scanned(&lake, &name).await;
        for (wanted, files) in [(&BY_SYMBOL[..], 3), (&["date"][..], 1)] {
            let wanting = wanting(&lake, wanted);
            let table = wanting.table(&name).await.unwrap();
            let before = table.latest_version(None).await.unwrap();
            let plan = OptimizeOptions {
                dry_run: true,
                ..options()
            };
            assert_eq!(cluster(&table, &plan).await.unwrap().rows, rows.len() as u64);
            assert_eq!(table.latest_version(None).await.unwrap(), before);
            let report = cluster(&table, &options()).await.unwrap();
            let did = (report.to.as_deref(), report.files_added, report.rows, report.version);
            let to: Vec<String> = wanted.iter().map(|column| (*column).to_owned()).collect();
            assert_eq!(
                did,
                (Some(&to[..]), files, rows.len() as u64, Some(before + 1)),
                "{name}"
            );
            assert_eq!(columns(&lake, &name).await, wanted);
            assert_eq!(scanned(&lake, &name).await, rows, "{name} by {wanted:?}");
            let again = wanting.table(&name).await.unwrap();
            assert!(
                cluster(&again, &options()).await.unwrap().is_empty(),
                "a second run finds work"
            );
            // What it was before can be read as it was, and gone back to.
            let (_, adds) = table.files(Some(before)).await.unwrap();
            assert!(!adds.is_empty());
        }
        assert_bars_are_right(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_go_on_and_what_they_had_open_is_opened_again() {
    let lake = filled(3, 12).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    let wanting = wanting(&lake, &BY_SYMBOL);
    for name in [TableName::silver_trades(), TableName::gold_ohlcv("1m")] {
        let table = wanting.table(&name).await.unwrap();
        assert_eq!(cluster(&table, &options()).await.unwrap().commits, 1);
    }
    lake.land(&(36..60).map(trade).collect::<Vec<_>>()).await;
    let rows = lake.lines(&TableName::silver_trades()).await;
    for error in [silver.refresh().await.unwrap_err(), gold.refresh().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Retry);
        let error = ticklake_sql::error::chain(&error);
        assert!(error.contains("is partitioned by symbol, date now"), "{error}");
    }
    assert_eq!(
        lake.lines(&TableName::silver_trades()).await,
        rows,
        "nothing was written"
    );
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    gold.refresh().await.unwrap();
    assert_eq!(lake.column(&TableName::silver_trades(), "trade_id").await.len(), 60);
    assert_bars_are_right(&lake).await;
}

/// Gold that is behind has files of both kinds to read: what was added before, and what a lesser repeat has taken out of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_behind_reads_what_came_before_and_after() {
    for (from, to) in [(&["date"][..], &BY_SYMBOL[..]), (&BY_SYMBOL[..], &["date"][..])] {
        let lake = TestLake::partitioned_by(from).await;
        let refresh = async || {
            let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
            silver.refresh().await.unwrap();
        };
        lake.land(&(0..30).map(trade).collect::<Vec<_>>()).await;
        refresh().await;
        let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
        gold.refresh().await.unwrap();
        let lesser = |id: i64| Row {
            partition: -1,
            ..trade(id)
        };
        lake.land(&[lesser(7), trade(30)]).await;
        refresh().await;
        let silver = wanting(&lake, to).table(&TableName::silver_trades()).await.unwrap();
        assert_eq!(cluster(&silver, &options()).await.unwrap().commits, 1);
        lake.land(&[lesser(11), trade(31)]).await;
        refresh().await;
        // One that had silver open, and one that has not.
        gold.refresh().await.unwrap();
        assert_bars_are_right(&lake).await;
        let mut again = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
        again.refresh().await.unwrap();
        assert_bars_are_right(&lake).await;
        assert_eq!(scanned(&lake, &TableName::silver_trades()).await.len(), 32);
    }
}

/// Again and again while the table is partitioned otherwise.
async fn through_rewrites(refresh: impl AsyncFn() -> crate::Result<()>) {
    while let Err(error) = refresh().await {
        let told = ticklake_sql::error::chain(&error);
        assert!(told.contains("is partitioned by"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_stream_in_while_a_table_is_rewritten_are_all_there_once() {
    const COMMITS: i64 = 80;
    let lake = Arc::new(TestLake::new().await);
    let ended = Arc::new(AtomicBool::new(false));
    let names = [TableName::silver_trades(), TableName::gold_ohlcv("1m")];
    let rewriters = names.map(|name| {
        let (lake, ended) = (lake.clone(), ended.clone());
        tokio::spawn(async move {
            let (mut commits, mut next) = (0, 0);
            while !ended.load(Ordering::SeqCst) {
                let wanted: &[&str] = if commits % 2 == 0 { &BY_SYMBOL } else { &["date"] };
                let table = wanting(&lake, wanted).find_table(&name).await.unwrap();
                let grown = match &table {
                    Some(table) => table.latest_version(None).await.unwrap() >= next,
                    None => false,
                };
                match table.filter(|_| grown) {
                    Some(table) => {
                        let report = cluster(&table, &options()).await.unwrap();
                        commits += report.commits;
                        // A few commits of the refreshes, and again.
                        next = report.version.unwrap() + 8;
                    }
                    None => tokio::task::yield_now().await,
                }
            }
            commits
        })
    });
    for commit in 0..COMMITS {
        let mut trades: Vec<Row> = (commit * 6..(commit + 1) * 6).map(trade).collect();
        if commit % 10 == 9 {
            // A lesser repeat of an earlier trade: silver takes rows out of files that are being rewritten.
            trades.push(Row {
                partition: -1,
                ..trade(commit * 3)
            });
        }
        lake.land(&trades).await;
        let patient = SilverOptions {
            attempts: 1000,
            ..SilverOptions::default()
        };
        let patient_gold = GoldOptions {
            attempts: 1000,
            ..GoldOptions::default()
        };
        through_rewrites(async || {
            Silver::open(lake.lake.clone(), patient.clone())
                .await?
                .refresh()
                .await
                .map(drop)
        })
        .await;
        through_rewrites(async || {
            Gold::open(lake.lake.clone(), patient_gold.clone())
                .await?
                .refresh()
                .await
                .map(drop)
        })
        .await;
    }
    ended.store(true, Ordering::SeqCst);
    for rewriter in rewriters {
        let commits = rewriter.await.unwrap();
        assert!(commits > 2, "{commits} commits");
    }
    let expected = (COMMITS * 6) as usize;
    let mut ids = lake.column(&TableName::silver_trades(), "trade_id").await;
    assert_eq!(ids.len(), expected);
    ids.dedup();
    assert_eq!(ids.len(), expected, "each trade once");
    assert_bars_are_right(&lake).await;
}

/// Two rewrites from one version: the second finds the table changed, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_rewrites_one_wins_and_a_stale_merge_is_refused() {
    let lake = filled(4, 12).await;
    let name = TableName::silver_trades();
    let wanting = wanting(&lake, &BY_SYMBOL);
    let [one, other] = [wanting.table(&name).await.unwrap(), wanting.table(&name).await.unwrap()];
    let rows = scanned(&lake, &name).await;
    assert_eq!(cluster(&one, &options()).await.unwrap().commits, 1);
    let refused = cluster(&other, &options()).await.unwrap_err();
    assert!(ticklake_sql::error::chain(&refused).contains("is partitioned by symbol, date now"));
    assert!(optimize(&other, &options()).await.is_err());
    assert_eq!(scanned(&lake, &name).await, rows);
    // A file of the old kind is no file of this table, whoever brings it.
    let by_date = other.partitioned_by(&["date".to_owned()]).unwrap();
    let (_, adds) = by_date.files(Some(1)).await.unwrap();
    let mut committer = Committer::open(&table(&lake, &name).await).await.unwrap();
    let refused = committer
        .commit(Commit {
            adds,
            ..Commit::default()
        })
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("has no value for each of symbol, date"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_back_to_what_it_was_partitioned_by() {
    let lake = filled(4, 12).await;
    let name = TableName::silver_trades();
    let before = lake.version(&name).await;
    let rows = scanned(&lake, &name).await;
    let table = wanting(&lake, &BY_SYMBOL).table(&name).await.unwrap();
    cluster(&table, &options()).await.unwrap();
    rollback(&lake.lake, &name, To::Version(before)).await.unwrap();
    assert_eq!(columns(&lake, &name).await, ["date"]);
    assert_eq!(scanned(&lake, &name).await, rows);
    rollback(&lake.lake, &name, To::Version(before + 1)).await.unwrap();
    assert_eq!(columns(&lake, &name).await, BY_SYMBOL);
    assert_eq!(scanned(&lake, &name).await, rows);
    lake.land(&(48..60).map(trade).collect::<Vec<_>>()).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    silver.refresh().await.unwrap();
    assert_eq!(scanned(&lake, &name).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_out_of_order_are_put_in_order() {
    let lake = filled(3, 12).await;
    let name = TableName::silver_trades();
    let silver = table(&lake, &name).await;
    let rows = lake.lines(&name).await;
    // One file turned around, as a writer that knows nothing of the order leaves it.
    let (_, adds) = silver.files(None).await.unwrap();
    let whole = &files(&silver).await[0];
    let schema = silver.spec().file_schema();
    let turned: Vec<RecordBatch> = whole
        .iter()
        .rev()
        .map(|batch| {
            let last = batch.num_rows() as u32;
            let numbers = arrow::array::UInt32Array::from_iter_values((0..last).rev());
            as_defined(&arrow::compute::take_record_batch(batch, &numbers).unwrap(), &schema)
        })
        .collect();
    let gone = adds.iter().find(|add| {
        let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref().unwrap()).unwrap();
        let ids = lake_ids(&turned);
        stats["minValues"]["trade_id"] == ids.0.as_str() && stats["maxValues"]["trade_id"] == ids.1.as_str()
    });
    let gone = gone.unwrap();
    let partition: BTreeMap<String, String> = [("date".to_owned(), "2025-01-01".to_owned())].into();
    let add = data_file::write(&silver, partition, turned, FileOptions::default())
        .await
        .unwrap();
    let removed = ticklake_sql::commit::removal(gone, lake.lake.clock().now(), false);
    let writer = "ticklake/silver.trades/writer";
    let add = deltalake::kernel::Add {
        data_change: false,
        ..add
    };
    crate::silver::tests::lake::commit(&silver, writer, vec![add], vec![removed]).await;
    assert_eq!(lake.lines(&name).await, rows);

    let report = cluster(&silver, &options()).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.to), (1, 1, None));
    assert_eq!(lake.lines(&name).await, rows);
    let order = RowOrder::of(silver.spec());
    for batches in files(&silver).await {
        for batch in batches {
            assert!(
                order
                    .keys(&as_defined(&batch, &schema))
                    .unwrap()
                    .is_sorted(batch.num_rows())
            );
        }
    }
    assert!(
        cluster(&silver, &options()).await.unwrap().is_empty(),
        "a second run finds work"
    );
    assert_bars_are_right(&lake).await;
}

/// Least and greatest trade id.
fn lake_ids(batches: &[RecordBatch]) -> (String, String) {
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("trade_id").unwrap();
        let column = cast(column, &arrow::datatypes::DataType::Utf8).unwrap();
        let column = arrow::array::AsArray::as_string::<i32>(&column).clone();
        ids.extend(column.iter().map(|id| id.unwrap().to_owned()));
    }
    ids.sort();
    (ids[0].clone(), ids[ids.len() - 1].clone())
}

//! The same rows in fewer files, in order; a second run finds nothing.

use std::collections::BTreeMap;

use arrow::compute::concat_batches;
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{ErrorKind, TableName, log};

use super::lake::{TestLake, commit};
use super::*;
use crate::maintenance::active::ActiveFiles;
use crate::maintenance::optimize;
use crate::maintenance::optimize::order::RowOrder;
use crate::silver::ranges::{Ranges, TAG};

/// Files before and after, and that nothing else changed.
async fn check(lake: &TestLake, name: &TableName, options: &OptimizeOptions, before: usize, after: usize) {
    let table = table(lake, name).await;
    let rows = lake.lines(name).await;
    assert_eq!(files(&table).await.len(), before, "{name} before");
    let report = optimize(&table, options).await.unwrap();
    assert_eq!(
        (report.files_removed - report.files_added) as usize,
        before - after,
        "{report:?}"
    );
    assert_eq!(files(&table).await.len(), after, "{name} after");
    assert_eq!(lake.lines(name).await, rows, "{name} holds other rows");
    let order = RowOrder::of(table.spec());
    for batches in files(&table).await {
        let whole = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert!(
            order.keys(&whole).unwrap().is_sorted(whole.num_rows()),
            "{name} is out of order"
        );
    }
    let again = optimize(&table, options).await.unwrap();
    assert_eq!((again.files_removed, again.commits), (0, 0), "a second run finds work");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_keeps_its_rows_and_its_order() {
    let lake = filled(12, 30).await;
    check(&lake, &TableName::bronze_trades(), &options(), 12, 1).await;
    check(&lake, &TableName::silver_trades(), &options(), 12, 1).await;
    check(&lake, &TableName::gold_ohlcv("1m"), &options(), 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_may_be_open_go_through_spill_files() {
    let lake = filled(40, 7).await;
    let few = OptimizeOptions {
        open_files: 4,
        ..options()
    };
    check(&lake, &TableName::silver_trades(), &few, 40, 1).await;
    let little = OptimizeOptions {
        sort_bytes: 1000,
        ..few
    };
    check(&lake, &TableName::bronze_trades(), &little, 40, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_files_stop_at_the_target() {
    let lake = filled(12, 30).await;
    let table = table(&lake, &TableName::silver_trades()).await;
    let whole: u64 = ActiveFiles::load(&table)
        .await
        .unwrap()
        .iter()
        .map(|file| file.add.size as u64)
        .sum();
    let halves = OptimizeOptions {
        target_bytes: whole / 2,
        ..options()
    };
    let report = optimize(&table, &halves).await.unwrap();
    assert!(report.files_added >= 2, "{report:?}");
    assert_eq!(optimize(&table, &halves).await.unwrap().commits, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn young_files_and_dry_runs_change_nothing() {
    let lake = filled(3, 10).await;
    lake.land(&[trade(30)]).await;
    let name = TableName::bronze_trades();
    let table = table(&lake, &name).await;
    let version = lake.version(&name).await;
    let dry = OptimizeOptions {
        dry_run: true,
        ..options()
    };
    let report = optimize(&table, &dry).await.unwrap();
    assert_eq!((report.files_removed, report.files_added, report.rows), (3, 1, 30));
    assert_eq!(lake.version(&name).await, version);
    check(&lake, &name, &options(), 4, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_derived_takes_no_notice() {
    let lake = filled(6, 20).await;
    for name in [TableName::bronze_trades(), TableName::silver_trades()] {
        optimize(&table(&lake, &name).await, &options()).await.unwrap();
    }
    let before = (lake.tables().await, lake.lines(&TableName::gold_ohlcv("1m")).await);
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let report = silver.refresh().await.unwrap();
    assert_eq!(
        (report.rows_in, report.files_added),
        (0, 0),
        "silver took moved rows for new ones"
    );
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    let report = gold.refresh().await.unwrap();
    assert_eq!(
        (report.rows_out, report.files_added),
        (0, 0),
        "gold took moved rows for new ones"
    );
    assert_eq!(
        (lake.tables().await, lake.lines(&TableName::gold_ohlcv("1m")).await),
        before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_found_in_merged_files() {
    let lake = filled(6, 20).await;
    let silver_trades = table(&lake, &TableName::silver_trades()).await;
    optimize(&silver_trades, &options()).await.unwrap();
    let merged = ActiveFiles::load(&silver_trades).await.unwrap();
    let tag = merged.iter().next().unwrap().add.tags.as_ref().unwrap()[TAG]
        .clone()
        .unwrap();
    assert_eq!(
        Ranges::from_tag(&tag).unwrap().groups.unwrap().len(),
        3,
        "a symbol each"
    );
    let rows = lake.lines(&TableName::silver_trades()).await;
    let mut again: Vec<_> = (0..120).map(trade).collect();
    again.iter_mut().for_each(|row| row.offset += 1000);
    lake.land(&again).await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let report = silver.refresh().await.unwrap();
    assert_eq!((report.rows_in, report.repeats, report.rows_out), (120, 120, 0));
    assert_eq!(lake.lines(&TableName::silver_trades()).await, rows);
}

/// Silver's rows in files of another writer: in no order, without a tag.
async fn foreign(lake: &TestLake, table: &Table, files: usize) {
    let schema = table.spec().file_schema();
    let batches: Vec<RecordBatch> = super::files(table).await.into_iter().flatten().collect();
    let batches: Vec<RecordBatch> = batches.iter().map(|batch| as_defined(batch, &schema)).collect();
    let whole = concat_batches(&schema, &batches).unwrap();
    let old = ActiveFiles::load(table).await.unwrap();
    let now = lake.lake.clock().now();
    let removes = old
        .iter()
        .map(|file| ticklake_sql::commit::removal(&file.add, now, true))
        .collect();
    let mut adds = Vec::new();
    for file in 0..files {
        let rows: arrow::array::UInt32Array = (0..whole.num_rows() as u32)
            .rev()
            .filter(|row| *row as usize % files == file)
            .collect();
        let batch = arrow::compute::take_record_batch(&whole, &rows).unwrap();
        let partition = BTreeMap::from([("date".to_owned(), "2025-01-01".to_owned())]);
        adds.push(
            data_file::write(table, partition, vec![batch], FileOptions::default())
                .await
                .unwrap(),
        );
    }
    commit(table, "ticklake/silver.trades/writer", adds, removes).await;
    pass(lake, Duration::from_secs(2 * 3600));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsorted_files_are_sorted_and_tagged() {
    let lake = filled(6, 20).await;
    let name = TableName::silver_trades();
    let trades = table(&lake, &name).await;
    foreign(&lake, &trades, 5).await;
    check(&lake, &name, &options(), 5, 1).await;
    let merged = ActiveFiles::load(&trades).await.unwrap();
    let tag = merged.iter().next().unwrap().add.tags.as_ref().unwrap()[TAG]
        .clone()
        .unwrap();
    let ranges = Ranges::from_tag(&tag).unwrap();
    assert_eq!(ranges.groups.unwrap().len(), 3);
    assert_eq!(ranges.watermarks["binance-spot"], trade(119).ts);
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_of_an_hour_are_merged_and_hours_are_not() {
    let lake = TestLake::new().await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    for hour in 0..3 {
        let rows: Vec<_> = (0..40)
            .map(|n| {
                let mut trade = trade(hour * 40 + n);
                trade.ts = super::lake::T0 + hour * HOUR_US + n * 60_000_000;
                trade.received_at = trade.ts + 1;
                trade
            })
            .collect();
        lake.land(&rows).await;
        silver.refresh().await.unwrap();
        gold.refresh().await.unwrap();
    }
    let name = TableName::gold_ohlcv("1m");
    let table = table(&lake, &name).await;
    // Another writer splits the hours.
    let halves = files(&table).await;
    let now = lake.lake.clock().now();
    let removes = ActiveFiles::load(&table)
        .await
        .unwrap()
        .iter()
        .map(|file| ticklake_sql::commit::removal(&file.add, now, false))
        .collect();
    let mut adds = Vec::new();
    for file in halves {
        let whole = concat_batches(&file[0].schema(), &file).unwrap();
        let half = whole.num_rows() / 2;
        for part in [whole.slice(0, half), whole.slice(half, whole.num_rows() - half)] {
            let rows = as_defined(&part, &table.spec().file_schema());
            let partition = BTreeMap::from([("date".to_owned(), "2025-01-01".to_owned())]);
            let mut add = data_file::write(&table, partition, vec![rows], FileOptions::default())
                .await
                .unwrap();
            add.data_change = false;
            adds.push(add);
        }
    }
    commit(&table, "ticklake/gold.ohlcv_1m/writer", adds, removes).await;
    pass(&lake, Duration::from_secs(2 * 3600));
    check(&lake, &name, &options(), 6, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_add_up_stay_as_they_are() {
    let lake = filled(4, 10).await;
    let name = TableName::bronze_trades();
    let bronze = table(&lake, &name).await;
    // An Add that promises a row more than its file holds.
    let mut lying = log::read(&bronze, 2).await.unwrap().unwrap().adds.remove(0);
    let removed = ticklake_sql::commit::removal(&lying, lake.lake.clock().now(), true);
    lying.stats = lying
        .stats
        .map(|stats| stats.replace("\"numRecords\":10", "\"numRecords\":11"));
    let copy = format!("{}.copy.parquet", lying.path);
    let folder = lake.lake.uri().to_owned() + "/bronze/trades/";
    std::fs::copy(folder.clone() + &lying.path, folder + &copy).unwrap();
    lying.path = copy;
    commit(&bronze, "ticklake/bronze.trades/writer", vec![lying], vec![removed]).await;
    let version = lake.version(&name).await;
    let error = optimize(&bronze, &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("promises 41 rows where 40 are"), "{error}");
    assert_eq!(lake.version(&name).await, version, "nothing is committed");
    assert_eq!(files(&bronze).await.len(), 4);
}

//! Maintenance of a lake on local disk that the tests fill themselves, read back from the files that the log lists.

mod cluster;
mod hours;
mod late;
mod optimize;
mod races;
mod retention;
mod vacuum;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use lake::{Row, TestLake, row};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ticklake_sql::{Table, TableName};

use super::optimize::OptimizeOptions;
use crate::gold::{Gold, GoldOptions};
use crate::silver::tests::lake;
use crate::silver::{Silver, SilverOptions};

const HOUR_US: i64 = 3_600_000_000;

fn options() -> OptimizeOptions {
    OptimizeOptions::default()
}

/// So many more symbols and minutes than one, and ids that grow.
pub(in crate::maintenance) fn trade(id: i64) -> Row {
    let mut trade = row(id, &format!("{}.5", 100 + id % 7));
    trade.symbol = ["BTC-USDT", "ETH-USDT", "ADA-USDT"][id as usize % 3];
    trade.partition = (id % 3) as i32;
    trade.ts += id * 1_000_000;
    trade.received_at = trade.ts + 5;
    trade
}

/// `commits` bronze commits of `rows` trades each, silver and gold brought up to date after each one, all of it long ago.
pub(in crate::maintenance) async fn filled(commits: i64, rows: i64) -> TestLake {
    let lake = TestLake::new().await;
    let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    for commit in 0..commits {
        let trades: Vec<Row> = (commit * rows..(commit + 1) * rows).map(trade).collect();
        lake.land(&trades).await;
        silver.refresh().await.unwrap();
        gold.refresh().await.unwrap();
    }
    pass(&lake, Duration::from_secs(2 * 3600));
    lake
}

fn pass(lake: &TestLake, time: Duration) {
    lake.now_us.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
}

async fn table(lake: &TestLake, name: &TableName) -> Table {
    lake.lake.table(name).await.unwrap()
}

/// The batches of each active file.
async fn files(table: &Table) -> Vec<Vec<RecordBatch>> {
    let snapshot = table.load(None).await.unwrap();
    let mut files = Vec::new();
    for uri in snapshot.get_file_uris().unwrap() {
        let file = std::fs::File::open(uri.strip_prefix("file://").unwrap_or(&uri)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        files.push(reader.map(Result::unwrap).collect());
    }
    files
}

/// The batch in the columns that the table is defined with: what was read back may name parts of a list differently.
fn as_defined(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// Data files on disk, sorted.
fn on_disk(lake: &TestLake, name: &TableName) -> Vec<PathBuf> {
    let folder = PathBuf::from(lake.lake.uri()).join(name.path());
    let mut found = Vec::new();
    for partition in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if partition.file_name() != "_delta_log" {
            found.extend(
                std::fs::read_dir(partition.path())
                    .unwrap()
                    .map(|file| file.unwrap().path()),
            );
        }
    }
    found.sort();
    found
}

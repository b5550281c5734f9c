//! A lake on local disk whose bronze the tests write themselves, and whose tables they read from the files that the log lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::DateTime;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Durability, History, Lake, LakeOptions, Table, TableName};

pub const T0: i64 = 1_735_689_600_000_000;
pub const DAY: i64 = 86_400_000_000;

/// A bronze row; what is not here is the same for all.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub symbol: &'static str,
    pub kind: &'static str,
    pub reference: Option<&'static str>,
    pub id: String,
    pub price: String,
    pub qty: String,
    pub side: Option<&'static str>,
    pub ts: i64,
    pub received_at: i64,
    pub source: &'static str,
    pub partition: i32,
    pub offset: i64,
}

/// A plain trade; its offset is its id.
pub fn row(id: i64, price: &str) -> Row {
    Row {
        symbol: "BTC-USDT",
        kind: "trade",
        reference: None,
        id: id.to_string(),
        price: price.to_owned(),
        qty: "0.5".to_owned(),
        side: Some("buy"),
        ts: T0 + id,
        received_at: T0 + id + 7,
        source: "live",
        partition: 0,
        offset: id,
    }
}

pub struct TestLake {
    pub lake: Lake,
    pub now_us: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
    bronze: Table,
}

impl TestLake {
    pub async fn new() -> Self {
        Self::with(&[], None).await
    }

    /// Silver and gold partitioned by these columns; none: as their definitions say.
    pub async fn partitioned_by(columns: &[&str]) -> Self {
        Self::with(columns, None).await
    }

    /// Its tables remember for so long.
    pub async fn keeping(history: History) -> Self {
        Self::with(&[], Some(history)).await
    }

    async fn with(columns: &[&str], history: Option<History>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_us = Arc::new(AtomicI64::new(T0 + DAY));
        let time = now_us.clone();
        let clock = Clock::from_fn(move || DateTime::from_timestamp_micros(time.load(Ordering::SeqCst)).unwrap());
        let tables = [TableName::silver_trades(), TableName::gold_ohlcv("1m")];
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let options = LakeOptions {
            durability: Durability::Os,
            partition_columns: tables.into_iter().map(|table| (table, columns.clone())).collect(),
            history,
            ..LakeOptions::default()
        };
        let lake = Lake::open(folder.path().to_str().unwrap(), options, clock).unwrap();
        let bronze = lake.create_table(&TableName::bronze_trades()).await.unwrap();
        Self {
            lake,
            now_us,
            _folder: folder,
            bronze,
        }
    }

    /// One bronze commit.
    pub async fn land(&self, rows: &[Row]) {
        let partition = BTreeMap::from([("ingest_date".to_owned(), "2025-01-02".to_owned())]);
        let mut adds = Vec::new();
        if !rows.is_empty() {
            adds.push(
                data_file::write(
                    &self.bronze,
                    partition,
                    vec![batch(&self.bronze, rows)],
                    FileOptions::default(),
                )
                .await
                .unwrap(),
            );
        }
        commit(&self.bronze, "ingest", adds, Vec::new()).await;
    }

    /// Rows of the table as sorted lines, files of their own or not.
    pub async fn lines(&self, name: &TableName) -> Vec<String> {
        let table = self.lake.table(name).await.unwrap();
        let snapshot = table.load(None).await.unwrap();
        let mut lines = Vec::new();
        for uri in snapshot.get_file_uris().unwrap() {
            let file = std::fs::File::open(uri.strip_prefix("file://").unwrap_or(&uri)).unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
                let batch = batch.unwrap();
                let options = FormatOptions::default().with_null("-");
                let columns: Vec<_> = batch
                    .columns()
                    .iter()
                    .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                    .collect();
                let line = |row| {
                    columns
                        .iter()
                        .map(|column| column.value(row).to_string())
                        .collect::<Vec<_>>()
                        .join("|")
                };
                lines.extend((0..batch.num_rows()).map(line));
            }
        }
        lines.sort();
        lines
    }

    /// What both tables hold.
    pub async fn tables(&self) -> (Vec<String>, Vec<String>) {
        (
            self.lines(&TableName::silver_trades()).await,
            self.lines(&TableName::silver_quarantine()).await,
        )
    }

    /// Values of one column, sorted.
    pub async fn column(&self, name: &TableName, column: &str) -> Vec<String> {
        let table = self.lake.table(name).await.unwrap();
        let position = table.spec().file_schema().index_of(column).unwrap();
        let mut values: Vec<_> = self
            .lines(name)
            .await
            .iter()
            .map(|line| line.split('|').nth(position).unwrap().to_owned())
            .collect();
        values.sort();
        values
    }

    pub async fn version(&self, name: &TableName) -> u64 {
        self.lake.table(name).await.unwrap().latest_version(None).await.unwrap()
    }
}

pub async fn commit(
    table: &Table,
    app_id: &str,
    adds: Vec<deltalake::kernel::Add>,
    removes: Vec<deltalake::kernel::Remove>,
) {
    let mut committer = Committer::open(table).await.unwrap();
    let version = committer.positions().get(app_id).copied().unwrap_or(0) + 1;
    let commit = Commit {
        operation: "WRITE".into(),
        txns: vec![Txn {
            app_id: app_id.into(),
            version,
        }],
        adds,
        removes,
        ..Commit::default()
    };
    assert!(matches!(
        committer.commit(commit).await.unwrap(),
        Outcome::Committed { .. }
    ));
}

fn batch(bronze: &Table, rows: &[Row]) -> RecordBatch {
    let schema = bronze.spec().file_schema();
    let texts =
        |text: &dyn Fn(&Row) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(text))) as ArrayRef;
    let times = |time: &dyn Fn(&Row) -> i64| {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(time)).with_timezone("UTC")) as ArrayRef
    };
    let longs = |long: &dyn Fn(&Row) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(long))) as ArrayRef;
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "origin" => texts(&|_| "kafka".into()),
        "topic" => texts(&|_| "trades".into()),
        "partition" => Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))),
        "offset" => longs(&|row| row.offset),
        "payload" => Arc::new(BinaryArray::from_iter_values(rows.iter().map(|_| b"{}"))),
        "venue" => texts(&|_| "binance-spot".into()),
        "symbol" => texts(&|row| row.symbol.into()),
        "kind" => texts(&|row| row.kind.into()),
        "ref_trade_id" => Arc::new(rows.iter().map(|row| row.reference).collect::<StringArray>()),
        "trade_id" => texts(&|row| row.id.clone()),
        "seq" => longs(&|row| row.id.parse().unwrap_or(row.ts)),
        "price" => texts(&|row| row.price.clone()),
        "qty" => texts(&|row| row.qty.clone()),
        "side" => Arc::new(rows.iter().map(|row| row.side).collect::<StringArray>()),
        "ts" => times(&|row| row.ts),
        "received_at" => times(&|row| row.received_at),
        "source" => texts(&|row| row.source.into()),
        "count" => longs(&|_| 1),
        "ingested_at" => times(&|_| T0 + DAY),
        _ => new_null_array(field.data_type(), rows.len()),
    });
    let columns: Vec<_> = columns.collect();
    assert!(columns.iter().all(|column| column.len() == rows.len()));
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

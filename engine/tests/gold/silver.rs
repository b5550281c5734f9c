//! A lake whose silver is written by the test itself, and whose gold is read by nothing of ours: parquet files as the log lists them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use chrono::DateTime;
use deltalake::kernel::Add;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, Table, TableName};

use super::fold::{FoldedBar, Trade};

/// One row of silver: a trade, or with `reference` a cancel or correct.
#[derive(Debug, Clone)]
pub struct Row {
    pub venue: String,
    pub kind: String,
    pub reference: Option<String>,
    pub trade: Trade,
}

impl Row {
    pub fn trade(venue: &str, trade: Trade) -> Self {
        Self {
            venue: venue.to_owned(),
            kind: "trade".to_owned(),
            reference: None,
            trade,
        }
    }
}

/// A bar of gold with what the fold does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBar {
    pub bar: FoldedBar,
    pub is_closed: bool,
    pub is_complete: Option<bool>,
    pub revision: i64,
    pub computed_at: i64,
}

/// (venue, symbol, window start) -> bar.
pub type StoredBars = BTreeMap<(String, String, i64), StoredBar>;

pub struct TestLake {
    pub lake: Lake,
    pub now_us: Arc<AtomicI64>,
    folder: tempfile::TempDir,
    silver: Table,
    watermarks: std::sync::Mutex<BTreeMap<String, i64>>,
}

impl TestLake {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_us = Arc::new(AtomicI64::new(1_735_689_600_000_000));
        let ticks = now_us.clone();
        let clock = Clock::from_fn(move || DateTime::from_timestamp_micros(ticks.load(Ordering::SeqCst)).unwrap());
        let options = LakeOptions {
            durability: Durability::Os,
            ..LakeOptions::default()
        };
        let lake = Lake::open(folder.path().to_str().unwrap(), options, clock).unwrap();
        let silver = lake.create_table(&TableName::silver_trades()).await.unwrap();
        Self {
            lake,
            now_us,
            folder,
            silver,
            watermarks: Default::default(),
        }
    }

    /// Puts the rows into silver, a file a date, sorted as silver sorts, with the watermarks that they leave; returns the Adds.
    pub async fn insert(&self, rows: &[Row]) -> Vec<Add> {
        self.change(rows, &[], true, "REFRESH").await
    }

    /// One commit to silver of rows and removes.
    pub async fn change(&self, rows: &[Row], removed: &[Add], data_change: bool, operation: &str) -> Vec<Add> {
        let mut dates: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let date = DateTime::from_timestamp_micros(row.trade.ts)
                .unwrap()
                .format("%Y-%m-%d")
                .to_string();
            dates.entry(date).or_default().push(row.clone());
            if row.kind == "trade" || row.kind == "agg" {
                let mut watermarks = self.watermarks.lock().unwrap();
                let watermark = watermarks.entry(row.venue.clone()).or_insert(row.trade.ts);
                *watermark = (*watermark).max(row.trade.ts);
            }
        }
        let mut adds = Vec::new();
        for (date, mut rows) in dates {
            rows.sort_by(|a, b| {
                (&a.trade.symbol, a.trade.ts, a.trade.seq, &a.trade.trade_id).cmp(&(
                    &b.trade.symbol,
                    b.trade.ts,
                    b.trade.seq,
                    &b.trade.trade_id,
                ))
            });
            let partition = BTreeMap::from([("date".to_owned(), date)]);
            let mut add = data_file::write(
                &self.silver,
                partition,
                vec![batch(&self.silver, &rows)],
                FileOptions::default(),
            )
            .await
            .unwrap();
            add.data_change = data_change;
            adds.push(add);
        }
        let watermarks = self.watermarks.lock().unwrap().clone();
        let mut committer = Committer::open(&self.silver).await.unwrap();
        let commit = Commit {
            operation: operation.to_owned(),
            info: serde_json::Map::from_iter([("watermarks".to_owned(), serde_json::json!(watermarks))]),
            txns: vec![Txn {
                app_id: "ticklake/silver.trades/writer".to_owned(),
                version: committer.version() as i64 + 1,
            }],
            removes: removed
                .iter()
                .map(|add| removal(add, self.lake.clock().now(), data_change))
                .collect(),
            adds: adds.clone(),
            ..Commit::default()
        };
        assert!(matches!(
            committer.commit(commit).await.unwrap(),
            Outcome::Committed { .. }
        ));
        adds
    }

    pub async fn gold(&self, interval: &str) -> StoredBars {
        let mut bars = StoredBars::new();
        for batch in self.batches(&TableName::gold_ohlcv(interval)).await {
            for row in 0..batch.num_rows() {
                let (key, bar) = stored(&batch, row);
                assert!(bars.insert(key.clone(), bar).is_none(), "two bars for {key:?}");
            }
        }
        bars
    }

    /// Earlier states of the bars of an interval, with the time that each was true until, in the order of their revisions.
    pub async fn revisions(&self, interval: &str) -> Vec<((String, String, i64), StoredBar, i64)> {
        let mut states = Vec::new();
        for batch in self.batches(&TableName::gold_ohlcv_revisions()).await {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let (intervals, until) = (column("bar_interval"), column("superseded_at"));
            for row in (0..batch.num_rows()).filter(|row| intervals.as_string::<i32>().value(*row) == interval) {
                let (key, bar) = stored(&batch, row);
                states.push((key, bar, until.as_primitive::<TimestampMicrosecondType>().value(row)));
            }
        }
        states.sort_by_key(|(key, bar, _)| (key.clone(), bar.revision));
        states
    }

    /// (venue, window start) of the bars without an open.
    pub async fn null_prices(&self, interval: &str) -> Vec<(String, i64)> {
        use arrow::array::Array;
        let mut found = Vec::new();
        for batch in self.batches(&TableName::gold_ohlcv(interval)).await {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            for row in (0..batch.num_rows()).filter(|row| column("open").is_null(*row)) {
                let start = column("window_start")
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row);
                found.push((column("venue").as_string::<i32>().value(row).to_owned(), start));
            }
        }
        found
    }

    /// Ends of the windows of a venue, in their order.
    pub async fn window_ends(&self, interval: &str, venue: &str) -> Vec<i64> {
        let mut ends = Vec::new();
        for batch in self.batches(&TableName::gold_ohlcv(interval)).await {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let rows = (0..batch.num_rows()).filter(|row| column("venue").as_string::<i32>().value(*row) == venue);
            ends.extend(rows.map(|row| {
                column("window_end")
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row)
            }));
        }
        ends.sort_unstable();
        ends
    }

    async fn batches(&self, name: &TableName) -> Vec<RecordBatch> {
        let table = self.lake.table(name).await.unwrap();
        let snapshot = table.load(None).await.unwrap();
        let mut batches = Vec::new();
        for uri in snapshot.get_file_uris().unwrap() {
            let path = uri.strip_prefix("file://").unwrap_or(&uri).to_owned();
            let file = std::fs::File::open(path).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        batches
    }

    pub fn path(&self) -> &std::path::Path {
        self.folder.path()
    }
}

fn stored(batch: &RecordBatch, row: usize) -> ((String, String, i64), StoredBar) {
    use arrow::array::Array;
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let text = |name: &str| column(name).as_string::<i32>().value(row).to_owned();
    let decimal = |name: &str| column(name).as_primitive::<Decimal128Type>().value(row);
    let ratio = |name: &str| column(name).is_valid(row).then(|| decimal(name));
    let integer = |name: &str| column(name).as_primitive::<Int64Type>().value(row);
    let ts = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>().value(row);
    let bar = FoldedBar {
        open: decimal("open"),
        high: decimal("high"),
        low: decimal("low"),
        close: decimal("close"),
        volume: decimal("volume"),
        quote_volume: decimal("quote_volume"),
        vwap: ratio("vwap"),
        avg_price: ratio("avg_price"),
        trade_count: integer("trade_count"),
        taker_buy_volume: decimal("taker_buy_volume"),
        taker_buy_quote_volume: decimal("taker_buy_quote_volume"),
        first_seq: integer("first_seq"),
        last_seq: integer("last_seq"),
        first_ts: ts("first_ts"),
        last_ts: ts("last_ts"),
        row_count: 0,
    };
    let complete = column("is_complete").as_boolean();
    let stored = StoredBar {
        bar,
        is_closed: column("is_closed").as_boolean().value(row),
        is_complete: complete.is_valid(row).then(|| complete.value(row)),
        revision: integer("revision"),
        computed_at: ts("computed_at"),
    };
    ((text("venue"), text("symbol"), ts("window_start")), stored)
}

fn batch(silver: &Table, rows: &[Row]) -> RecordBatch {
    let texts = |text: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let longs = |value: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(value(row))).collect::<Int64Array>())
    };
    let times = |value: &dyn Fn(&Row) -> i64| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(value(row)))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        )
    };
    let decimals = |value: &dyn Fn(&Row) -> i128, precision: u8, scale: i8| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(value(row)))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(precision, scale)
                .unwrap(),
        )
    };
    let schema = silver.spec().file_schema();
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        match field.name().as_str() {
            "venue" => texts(&|row| Some(row.venue.clone())),
            "symbol" => texts(&|row| Some(row.trade.symbol.clone())),
            "kind" => texts(&|row| Some(row.kind.clone())),
            "trade_id" => texts(&|row| Some(row.trade.trade_id.clone())),
            "ref_trade_id" => texts(&|row| row.reference.clone()),
            "side" => texts(&|row| row.trade.side.clone()),
            "source" => texts(&|_| Some("live".to_owned())),
            "origin" => texts(&|_| Some("kafka".to_owned())),
            "topic" => texts(&|_| Some("trades".to_owned())),
            "seq" => longs(&|row| row.trade.seq),
            "offset" => longs(&|row| row.trade.seq),
            "count" => longs(&|row| row.trade.count),
            "ts" | "received_at" | "ingested_at" => times(&|row| row.trade.ts),
            "price" => decimals(&|row| row.trade.price, 28, 12),
            "qty" => decimals(&|row| row.trade.qty, 28, 10),
            // The bar multiplies for itself: what overflows must reach it.
            "quote_qty" => decimals(
                &|row| row.trade.price.checked_mul(row.trade.qty).unwrap_or(0) % 10i128.pow(38),
                38,
                22,
            ),
            "partition" => Arc::new(rows.iter().map(|_| Some(0)).collect::<Int32Array>()),
            "conditions" => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                rows.iter().for_each(|_| lists.append(false));
                arrow::compute::cast(&lists.finish(), field.data_type()).unwrap()
            }
            _ => new_null_array(field.data_type(), rows.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

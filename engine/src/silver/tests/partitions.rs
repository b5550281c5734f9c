//! Silver and gold partitioned by symbol and date hold what they hold partitioned by date.

use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use ticklake_sql::TableName;

use super::lake::{DAY, Row, T0, TestLake, row};
use super::open;
use crate::gold::{Gold, GoldOptions, recount};
use crate::rebuild::{self, RebuildRange};
use crate::scan::{DataFile, OrderedScan, session};
use crate::silver::SilverOptions;

/// Rows of the table in all its columns, those that it is partitioned by too, as sorted lines, but for when and how often a bar was computed.
pub async fn scanned(lake: &TestLake, name: &TableName) -> Vec<String> {
    let table = lake.lake.table(name).await.unwrap();
    let (_, adds) = table.files(None).await.unwrap();
    let files = adds.into_iter().map(|add| Arc::new(DataFile::new(add, table.spec())));
    let scan = OrderedScan::new(table.clone(), files.collect()).unwrap();
    let context = session::session(Default::default(), session::config(1), &[&table]).unwrap();
    let fields = table.spec().schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = fields
        .filter(|column| !["revision", "computed_at"].contains(column))
        .collect();
    let rows = context
        .read_table(Arc::new(scan))
        .unwrap()
        .select_columns(&columns)
        .unwrap();
    let mut lines: Vec<String> = Vec::new();
    for batch in rows.collect().await.unwrap() {
        let options = FormatOptions::default().with_null("-");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        lines.extend((0..batch.num_rows()).map(|row| {
            let values: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            values.join("|")
        }));
    }
    lines.sort();
    lines
}

async fn folders(lake: &TestLake, name: &TableName) -> Vec<String> {
    let (_, adds) = lake.lake.table(name).await.unwrap().files(None).await.unwrap();
    let mut folders: Vec<String> = adds
        .iter()
        .map(|add| add.path.rsplit_once('/').unwrap().0.to_owned())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_and_dates_hold_what_dates_hold() {
    let by_date = TestLake::new().await;
    let by_symbol = TestLake::partitioned_by(&["symbol", "date"]).await;
    let trades = |ids: std::ops::Range<i64>, symbol| -> Vec<Row> {
        let trade = |id: i64| Row {
            symbol,
            offset: id * 10,
            ts: T0 + id * DAY / 8,
            received_at: T0 + id * DAY / 8,
            ..row(id, "100")
        };
        ids.map(trade).collect()
    };
    // Two days and symbols; a repeat in one chunk; one that comes later with a lesser offset; a contradiction; a repeat of another symbol's id.
    let mut first = trades(0..12, "BTC-USDT");
    first.extend(trades(3..9, "ETH-USDT"));
    first.push(first[2].clone());
    let mut second = trades(10..16, "ETH-USDT");
    second.push(Row {
        offset: 1,
        ..first[4].clone()
    });
    second.push(Row {
        offset: 7,
        price: "101".to_owned(),
        ..first[13].clone()
    });
    for lake in [&by_date, &by_symbol] {
        let mut silver = open(lake).await;
        for rows in [&first, &second] {
            lake.land(rows).await;
            silver.refresh().await.unwrap();
            let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
            gold.refresh().await.unwrap();
        }
    }
    let tables = [
        TableName::silver_trades(),
        TableName::silver_quarantine(),
        TableName::gold_ohlcv("1m"),
    ];
    let held = async |lake: &TestLake| {
        let mut held = Vec::new();
        for table in &tables {
            held.push(scanned(lake, table).await);
        }
        held
    };
    let expected = held(&by_date).await;
    assert_eq!(expected[0].len(), 24);
    assert_eq!(held(&by_symbol).await, expected);
    assert_eq!(
        folders(&by_symbol, &tables[0]).await,
        [
            "symbol=BTC-USDT/date=2025-01-01",
            "symbol=BTC-USDT/date=2025-01-02",
            "symbol=ETH-USDT/date=2025-01-01",
            "symbol=ETH-USDT/date=2025-01-02"
        ]
    );
    // A fresh start knows what the files hold, and a range comes again out of bronze.
    let again = open(&by_symbol).await.refresh().await.unwrap();
    assert_eq!(again.rows_in, 0);
    by_symbol.land(&first).await;
    assert_eq!(open(&by_symbol).await.refresh().await.unwrap().rows_out, 0, "repeats");
    let range = RebuildRange::new(T0 + 5, T0 + DAY + 5, &["ETH-USDT".to_owned()]).unwrap();
    rebuild::silver(&by_symbol.lake, &SilverOptions::default(), &range, false)
        .await
        .unwrap();
    assert_eq!(scanned(&by_symbol, &tables[0]).await, expected[0]);
    let mut found = Vec::new();
    recount(
        &by_symbol.lake,
        &GoldOptions::default(),
        &Default::default(),
        |difference| found.push(difference),
    )
    .await
    .unwrap();
    assert_eq!(found, []);
}

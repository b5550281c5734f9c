//! Real trades of Binance, recorded without a hole: in any order, split and repetition they give the same bars, whole and exact.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use ticklake_sql::{TableName, decimal};

use super::lake::{Row, TestLake};
use super::open;
use super::partitions::scanned;
use crate::gold::{Gold, GoldOptions};

const SYMBOLS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "SOL-USDT"];

/// In the order of the recording; prices and quantities as the lines write them.
fn recorded() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/binance-spot-2025/trades.jsonl.gz");
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let number = |line: &str, key: &str| {
        let rest = &line[line.find(&format!("\"{key}\":")).unwrap() + key.len() + 3..];
        rest[..rest.find([',', '}']).unwrap()].to_owned()
    };
    let row = |line: &str| {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        let trade = &item["Item"]["kind"]["Trade"];
        let time = |key: &str| {
            let text = item["Item"][key].as_str().unwrap();
            chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
        };
        let id = trade["id"].as_str().unwrap().to_owned();
        Row {
            symbol: SYMBOLS[item["Item"]["instrument"].as_u64().unwrap() as usize],
            kind: "trade",
            reference: None,
            price: number(line, "price"),
            qty: number(line, "amount"),
            side: Some(if trade["side"] == "Buy" { "buy" } else { "sell" }),
            ts: time("time_exchange"),
            received_at: time("time_received"),
            source: "live",
            partition: 0,
            offset: id.parse().unwrap(),
            id,
        }
    };
    text.lines().map(row).collect()
}

/// What gold says of the rows, landed in pieces, each read by silver and, now and then, by gold.
async fn bars(rows: &[Row], pieces: usize) -> Vec<String> {
    let lake = TestLake::new().await;
    let mut silver = open(&lake).await;
    let mut gold = Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap();
    for (at, piece) in rows.chunks(rows.len().div_ceil(pieces)).enumerate() {
        lake.land(piece).await;
        silver.refresh().await.unwrap();
        if at % 2 == 0 {
            gold.refresh().await.unwrap();
        }
    }
    gold.refresh().await.unwrap();
    scanned(&lake, &TableName::gold_ohlcv("1m")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_gives_the_same_bars_in_any_order_split_and_repetition() {
    let rows = recorded();
    let expected = bars(&rows, 1).await;
    for seed in 0..3 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let mut shuffled = rows.clone();
        // A tenth again, from another partition.
        for row in &rows {
            if random.random_range(0..10) == 0 {
                shuffled.push(Row {
                    partition: 1,
                    ..row.clone()
                });
            }
        }
        shuffled.shuffle(&mut random);
        let pieces = random.random_range(3..9);
        assert_eq!(bars(&shuffled, pieces).await, expected, "seed {seed}, {pieces} pieces");
    }
}

/// Columns of a bar that the recording tells by itself.
#[derive(Debug, Default, PartialEq)]
struct Told {
    count: i64,
    quote: i128,
    bought_quote: i128,
    first: i64,
    last: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_s_ids_are_contiguous_and_its_bars_continue_one_another_to_the_last_digit() {
    let rows = recorded();
    let mut told: BTreeMap<(&str, i64), Told> = BTreeMap::new();
    for symbol in SYMBOLS {
        let mut ids: Vec<i64> = rows
            .iter()
            .filter(|row| row.symbol == symbol)
            .map(|row| row.offset)
            .collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{symbol}");
    }
    for row in &rows {
        let of = |text: &str, scale| decimal::parse(text, 28, scale).unwrap();
        let quote = of(&row.price, 12) * of(&row.qty, 10);
        let bar = told.entry((row.symbol, row.ts.div_euclid(60_000_000))).or_default();
        bar.first = if bar.count == 0 {
            row.offset
        } else {
            bar.first.min(row.offset)
        };
        bar.last = bar.last.max(row.offset);
        bar.count += 1;
        bar.quote += quote;
        bar.bought_quote += if row.side == Some("buy") { quote } else { 0 };
    }
    let lake = TestLake::new().await;
    lake.land(&rows).await;
    open(&lake).await.refresh().await.unwrap();
    Gold::open(lake.lake.clone(), GoldOptions::default())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let name = TableName::gold_ohlcv("1m");
    let table = lake.lake.table(&name).await.unwrap();
    let fields = table.spec().schema.fields().iter().map(|field| field.name().clone());
    let columns: Vec<String> = fields
        .filter(|column| !["revision", "computed_at"].contains(&column.as_str()))
        .collect();
    let mut said = BTreeMap::new();
    let mut complete = BTreeMap::new();
    for line in scanned(&lake, &name).await {
        let values: Vec<&str> = line.split('|').collect();
        let value = |name: &str| values[columns.iter().position(|column| column == name).unwrap()];
        let exact = |name: &str| decimal::parse(value(name), 38, 22).unwrap();
        let integer = |name: &str| value(name).parse::<i64>().unwrap();
        let start = chrono::DateTime::parse_from_rfc3339(value("window_start"))
            .unwrap()
            .timestamp_micros();
        let symbol = SYMBOLS.into_iter().find(|symbol| *symbol == value("symbol")).unwrap();
        let bar = Told {
            count: integer("trade_count"),
            quote: exact("quote_volume"),
            bought_quote: exact("taker_buy_quote_volume"),
            first: integer("first_seq"),
            last: integer("last_seq"),
        };
        said.insert((symbol, start / 60_000_000), bar);
        complete.insert((symbol, start / 60_000_000), value("is_complete").to_owned());
    }
    assert_eq!(said, told);
    // A venue's candles continue one another, and so do ours: each bar that has two neighbours knows that it is whole.
    for symbol in SYMBOLS {
        let bars: Vec<_> = said.iter().filter(|((of, _), _)| *of == symbol).collect();
        assert!(
            bars.windows(2).all(|pair| pair[0].1.last + 1 == pair[1].1.first),
            "{symbol}"
        );
        assert!(
            bars.iter().all(|(_, bar)| bar.last - bar.first + 1 == bar.count),
            "{symbol}"
        );
        let whole = bars.iter().filter(|(key, _)| complete[*key] == "true").count();
        assert_eq!(whole, bars.len() - 2, "{symbol}: all but the first and the last");
    }
}

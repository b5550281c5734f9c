//! Bars of recorded trades.

use std::io::BufRead;

use ticklake_engine::gold::Gold;

use crate::fold::Trade;
use crate::silver::{Row, TestLake};
use crate::{MINUTE, expected, options, said};

/// The recorded trades, their numbers taken from the text.
fn recorded() -> Vec<Row> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow, rename = "Item")]
        item: Option<Item<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Item<'a> {
        time_exchange: String,
        instrument: u32,
        #[serde(borrow)]
        kind: Kind<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "Trade")]
        trade: Option<Recorded<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Recorded<'a> {
        id: String,
        #[serde(borrow)]
        price: &'a serde_json::value::RawValue,
        #[serde(borrow)]
        amount: &'a serde_json::value::RawValue,
        side: String,
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/binance-spot-2025/trades.jsonl.gz"
    );
    let lines = std::io::BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
    let row = |line: String| {
        let item = serde_json::from_str::<Line<'_>>(&line).unwrap().item?;
        let trade = item.kind.trade?;
        let decimal =
            |text: &serde_json::value::RawValue, scale| ticklake_sql::decimal::parse(text.get(), 28, scale).unwrap();
        let trade = Trade {
            symbol: format!("INSTRUMENT-{}", item.instrument),
            ts: chrono::DateTime::parse_from_rfc3339(&item.time_exchange)
                .unwrap()
                .timestamp_micros(),
            seq: trade.id.parse().unwrap(),
            price: decimal(trade.price, 12),
            qty: decimal(trade.amount, 10),
            side: Some(trade.side.to_lowercase()),
            trade_id: trade.id,
            count: 1,
        };
        Some(Row::trade("sim", trade))
    };
    lines.filter_map(|line| row(line.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_trades_give_the_naive_bars_in_any_number_of_steps() {
    let rows = recorded();
    assert_eq!(rows.len(), 11_032);
    for step in [rows.len(), 1_500] {
        let lake = TestLake::new().await;
        let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
        for rows in rows.chunks(step) {
            lake.insert(rows).await;
            gold.refresh().await.unwrap();
        }
        let bars = lake.gold("1m").await;
        assert_eq!(said(&bars), expected(&rows, MINUTE));
        assert!(
            bars.values().all(|bar| bar.is_complete != Some(false)),
            "the recording has no hole"
        );
    }
}

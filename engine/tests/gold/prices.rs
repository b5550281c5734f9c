//! A venue's rule of which trades set prices.

use ticklake_engine::gold::{Gold, GoldOptions, PriceRule, recount};

use crate::silver::{Row, TestLake};
use crate::{MINUTE, START, options, trade};

/// Trades of seq divisible by 5 count for volume, of rest 1 for range.
const RULE: &str = "SELECT CASE seq % 5 WHEN 0 THEN 'volume' WHEN 1 THEN 'range' END AS counts_for FROM trades";

fn ruled(interval: &str) -> GoldOptions {
    GoldOptions {
        interval: interval.to_owned(),
        prices: [("sim".to_owned(), PriceRule::new("fives", RULE))].into(),
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_prices_says_which_trades_open_and_close_bars_of_any_width() {
    let lake = TestLake::new().await;
    let mut golds = Vec::new();
    for interval in ["1m", "1h"] {
        golds.push(Gold::open(lake.lake.clone(), ruled(interval)).await.unwrap());
    }
    // Seconds and seqs go together; prices fall. Refreshed step by step: the hour is made of minutes in memory.
    for step in [0..20i64, 20..60, 60..65, 65..66, 66..130, 500..501] {
        let rows: Vec<Row> = step
            .map(|n| trade("A-B", n * 1_000_000, n, i128::from(1_000 - n)))
            .collect();
        lake.insert(&rows).await;
        for gold in &mut golds {
            gold.refresh().await.unwrap();
        }
    }
    let other = Row {
        venue: "other".to_owned(),
        ..trade("A-B", 0, 5, 7)
    };
    lake.insert(&[other]).await;
    for gold in &mut golds {
        gold.refresh().await.unwrap();
    }
    let prices = async |interval: &str, venue: &str, minute: i64| {
        let bars = lake.gold(interval).await;
        let bar = &bars[&(venue.to_owned(), "A-B".to_owned(), START + minute * MINUTE)].bar;
        let whole = |price: i128| price / 1_000_000_000_000;
        ([bar.open, bar.high, bar.low, bar.close].map(whole), bar.trade_count)
    };
    assert_eq!(
        prices("1m", "sim", 0).await,
        ([998, 999, 941, 941], 60),
        "0 for volume, 1 for range"
    );
    assert_eq!(prices("1m", "sim", 1).await, ([938, 939, 881, 881], 60));
    assert_eq!(
        prices("1h", "sim", 0).await,
        ([998, 999, 871, 871], 131),
        "the last trade, 500, counts for volume"
    );
    assert_eq!(
        prices("1m", "other", 0).await,
        ([7, 7, 7, 7], 1),
        "a venue without a rule"
    );
    // A minute of trades that only count for volume has no prices, and a proof agrees.
    let unpriced = (START + 480_000_000) / MINUTE * MINUTE;
    assert_eq!(lake.null_prices("1m").await, [("sim".to_owned(), unpriced)]);
    for interval in ["1m", "1h"] {
        let mut found = Vec::new();
        let unreadable = std::collections::HashSet::new();
        recount(&lake.lake, &ruled(interval), &unreadable, |difference| {
            found.push(difference)
        })
        .await
        .unwrap();
        assert_eq!(found, [], "{interval}");
        recount(
            &lake.lake,
            &GoldOptions {
                interval: interval.to_owned(),
                ..options()
            },
            &unreadable,
            |difference| found.push(difference),
        )
        .await
        .unwrap();
        assert!(!found.is_empty(), "another rule gives other bars");
    }
}

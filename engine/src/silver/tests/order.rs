//! Any split, order and duplication of the same bronze rows gives the same silver and the same quarantine, on real tables.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::lake::{DAY, Row, T0, TestLake, row};
use super::open;
use crate::rebuild::{self, RebuildRange};
use crate::silver::SilverOptions;

/// Few ids, prices and dates, so that nearly every row repeats or contradicts another one; some break a rule.
fn universe() -> impl Strategy<Value = Vec<Row>> {
    let id = prop::sample::select(&["1", "2", "3", "c-1-1", "c-1-2", "other"][..]);
    let price = prop::sample::select(&["1", "1.0", "2", "0"][..]);
    let source = prop::sample::select(&["live", "import"][..]);
    let trade = (id, price, source, 0i32..2, 0i64..2, any::<bool>());
    prop::collection::vec(trade, 2..14).prop_map(|trades| {
        let number = |(offset, (id, price, source, partition, day, eth)): (usize, (&str, &str, _, _, i64, bool))| Row {
            symbol: if eth { "ETH-USDT" } else { "BTC-USDT" },
            id: id.to_owned(),
            source,
            partition,
            ts: T0 + day * DAY,
            received_at: T0 + day * DAY,
            ..row(offset as i64, price)
        };
        trades.into_iter().enumerate().map(number).collect()
    })
}

#[test]
fn tables_are_a_function_of_bronze() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let cuts = prop::collection::vec((1usize..5, any::<bool>()), 14);
    runner
        .run(&(universe(), any::<u64>(), cuts), |(rows, seed, cuts)| {
            let (whole, pieces) = runtime.block_on(async {
                let at_once = TestLake::new().await;
                at_once.land(&rows).await;
                open(&at_once).await.refresh().await.unwrap();

                // Each row once, in another order, cut into commits, read by one refresh or by several, sometimes after a restart.
                let mut shuffled = rows.clone();
                shuffled.sort_by_key(|row| (row.offset as u64 + 1).wrapping_mul(seed | 1) % 1_000_003);
                let in_pieces = TestLake::new().await;
                let mut silver = open(&in_pieces).await;
                let mut rest = shuffled.as_slice();
                for (cut, restart) in cuts {
                    let (piece, after) = rest.split_at(cut.min(rest.len()));
                    in_pieces.land(piece).await;
                    rest = after;
                    if restart {
                        silver = open(&in_pieces).await;
                    }
                    silver.refresh().await.unwrap();
                }
                assert!(rest.is_empty());
                // Any range computed again, of all symbols or of one, is what it was.
                let symbols = if seed % 2 == 0 {
                    vec![]
                } else {
                    vec!["ETH-USDT".to_owned()]
                };
                let from = T0 + (seed % 3) as i64 * DAY / 2;
                let range = RebuildRange::new(from, from + DAY, &symbols).unwrap();
                rebuild::silver(&in_pieces.lake, &SilverOptions::default(), &range, false)
                    .await
                    .unwrap();
                (at_once.tables().await, in_pieces.tables().await)
            });
            prop_assert_eq!(whole, pieces);
            Ok(())
        })
        .unwrap();
}

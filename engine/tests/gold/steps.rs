//! Any history of rows that come and go gives the bars of its end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ticklake_engine::gold::{Gold, GoldOptions};

use crate::silver::{Row, TestLake};
use crate::{DAY, MINUTE, Said, expected, options, said, trade};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A step of history: rows that come, or the removal of an earlier step's files.
#[derive(Debug, Clone)]
enum Step {
    Insert(Vec<(u8, i64, i64, i128)>),
    Remove(prop::sample::Index),
    Refresh,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (
        0..3u8,
        prop_oneof![8 => 0..4 * 3_600_000_000i64, 1 => 0..3 * DAY],
        0..60i64,
        1..200i128,
    );
    prop_oneof![
        6 => prop::collection::vec(row, 1..12).prop_map(Step::Insert),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        4 => Just(Step::Refresh),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_number_of_steps_gives_the_bars_of_one(steps in prop::collection::vec(step(), 1..14)) {
        runtime().block_on(async {
            let lake = TestLake::new().await;
            let widths = [("1m", MINUTE), ("1h", 60 * MINUTE), ("1d", DAY)];
            let open = async |interval: &str| {
                let options = GoldOptions { interval: interval.to_owned(), ..options() };
                Gold::open(lake.lake.clone(), options).await.unwrap()
            };
            let mut golds = vec![open("1m").await, open("1h").await, open("1d").await];
            let mut held: Vec<(Vec<deltalake::kernel::Add>, Vec<Row>)> = Vec::new();
            let mut id = 0;
            for step in steps {
                match step {
                    Step::Insert(drawn) => {
                        let rows: Vec<Row> = drawn.into_iter().map(|(symbol, at, seq, price)| {
                            id += 1;
                            let mut row = trade(["A-B", "C-D", "E-F"][symbol as usize], at, seq, price);
                            row.trade.trade_id = format!("{id}");
                            if seq % 4 == 0 {
                                row.venue = "other".to_owned();
                            }
                            row
                        }).collect();
                        held.push((lake.insert(&rows).await, rows));
                    }
                    Step::Remove(at) if !held.is_empty() => {
                        let (adds, _) = held.remove(at.index(held.len()));
                        lake.change(&[], &adds, true, "REFRESH").await;
                    }
                    Step::Remove(_) => {}
                    Step::Refresh => for gold in &mut golds { gold.refresh().await.unwrap(); },
                    Step::Reopen => golds = vec![open("1m").await, open("1h").await, open("1d").await],
                }
            }
            for gold in &mut golds {
                gold.refresh().await.unwrap();
            }
            let rows: Vec<Row> = held.into_iter().flat_map(|(_, rows)| rows).collect();
            let bars = |said: Said| said.into_iter().map(|(key, bar)| (key, (bar.0, bar.2))).collect::<BTreeMap<_, _>>();
            let stepwise = lake.gold("1m").await;
            for (interval, width) in widths {
                let stepwise = said(&lake.gold(interval).await);
                prop_assert_eq!(bars(stepwise), bars(expected(&rows, width)), "is_closed goes by the watermarks that the commits state");
            }
            // A fresh gold over the same silver: the same in every column but revision and time.
            let path = lake.path().join("gold");
            std::fs::remove_dir_all(&path).unwrap();
            let mut fresh = Gold::open(lake.lake.clone(), options()).await.unwrap();
            fresh.refresh().await.unwrap();
            prop_assert_eq!(said(&lake.gold("1m").await), said(&stepwise));
            Ok(())
        })?;
    }
}

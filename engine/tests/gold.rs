//! Gold against a naive fold of silver: step by step, at once, raced, with late, cancelled and corrected trades.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fold;
mod silver;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fold::{FoldedBar, Trade, fold};
use proptest::prelude::*;
use silver::{Row, StoredBars, TestLake};
use ticklake_engine::gold::{Gold, GoldOptions, KeepRevisions, PriceRule, Session, recount};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// 2025-01-01 00:00.
const START: i64 = 1_735_689_600_000_000;

fn options() -> GoldOptions {
    GoldOptions {
        target_partitions: 2,
        ..GoldOptions::default()
    }
}

fn trade(symbol: &str, at: i64, seq: i64, price: i128) -> Row {
    let side = Some(if seq % 3 == 0 { "buy" } else { "sell" }.to_owned());
    Row::trade(
        "sim",
        Trade {
            symbol: symbol.to_owned(),
            ts: START + at,
            seq,
            trade_id: seq.to_string(),
            price: price * 1_000_000_000_000,
            qty: 10_000_000_000,
            side,
            count: 1,
        },
    )
}

fn amendment(kind: &str, named: &Row, at: i64, price: i128) -> Row {
    let mut row = trade(&named.trade.symbol, at, 1_000_000 + at, price);
    row.kind = kind.to_owned();
    row.reference = Some(named.trade.trade_id.clone());
    row
}

/// (venue, symbol, window start) -> bar, is_closed, is_complete.
type Said = BTreeMap<(String, String, i64), (FoldedBar, bool, Option<bool>)>;

/// What gold must say of the trades in `rows`, beside revision and time: folded, closed by the watermark, complete by the ids.
fn expected(rows: &[Row], width: i64) -> Said {
    let mut venues: BTreeMap<&str, Vec<Trade>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind == "trade") {
        venues.entry(&row.venue).or_default().push(row.trade.clone());
    }
    let mut bars = BTreeMap::new();
    for (venue, trades) in venues {
        let watermark = trades.iter().map(|trade| trade.ts).max().unwrap();
        let folded: Vec<_> = fold(&trades, width)
            .into_iter()
            .filter_map(|((symbol, start), bar)| Some((symbol, start, bar?)))
            .collect();
        for (at, (symbol, start, bar)) in folded.iter().enumerate() {
            let of_symbol = |other: &&(String, i64, FoldedBar)| other.0 == *symbol;
            let before = at.checked_sub(1).and_then(|at| folded.get(at)).filter(of_symbol);
            let after = folded.get(at + 1).filter(of_symbol);
            let holes = [
                (bar.last_seq - bar.first_seq + 1 != bar.row_count),
                before.is_some_and(|before| before.2.last_seq + 1 != bar.first_seq),
                after.is_some_and(|after| bar.last_seq + 1 != after.2.first_seq),
            ];
            let is_complete = match venue {
                "sim" if holes.contains(&true) => Some(false),
                "sim" if before.is_some() && after.is_some() => Some(true),
                _ => None,
            };
            let mut bar = bar.clone();
            bar.row_count = 0;
            bars.insert(
                (venue.to_owned(), symbol.clone(), *start),
                (bar, watermark >= start + width, is_complete),
            );
        }
    }
    bars
}

fn said(bars: &StoredBars) -> Said {
    bars.iter()
        .map(|(key, bar)| (key.clone(), (bar.bar.clone(), bar.is_closed, bar.is_complete)))
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_follow_silver_commit_by_commit() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows = Vec::new();
    for step in 0..6i64 {
        let new: Vec<Row> = (0..40)
            .map(|n| {
                trade(
                    ["A-B", "C-D"][n as usize % 2],
                    step * 25_000_000 + n * 500_000,
                    (step * 40 + n) / 2,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let report = gold.refresh().await.unwrap();
        assert_eq!((report.commits, report.files_added), (1, 1), "one hour, one file");
        assert_eq!(
            said(&lake.gold("1m").await),
            expected(&rows, MINUTE),
            "after step {step}"
        );
    }
    let report = gold.refresh().await.unwrap();
    assert_eq!((report.commits, report.version), (0, None), "nothing new, no commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_trades_correct_their_bars_alone() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows: Vec<Row> = (0..600)
        .filter(|n| ![63, 190].contains(n))
        .map(|n| trade("A-B", n * 1_000_000, n, i128::from(100 + n % 7)))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    let before = lake.gold("1m").await;
    assert_eq!(said(&before), expected(&rows, MINUTE));
    assert_eq!(
        before[&("sim".into(), "A-B".into(), START + MINUTE)].is_complete,
        Some(false),
        "63 is missing"
    );
    lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
    // Two windows: the one between them is computed again too, and is the same.
    let late = [trade("A-B", 63_000_000, 63, 999), trade("A-B", 190_000_000, 190, 999)];
    lake.insert(&late).await;
    rows.extend(late);
    gold.refresh().await.unwrap();
    let after = lake.gold("1m").await;
    assert_eq!(said(&after), expected(&rows, MINUTE));
    for (key, bar) in &after {
        if [START + MINUTE, START + 3 * MINUTE].contains(&key.2) {
            assert_eq!((bar.revision, bar.computed_at), (2, START + 1_000_000));
            assert_eq!(bar.bar.high, 999_000_000_000_000);
        } else {
            assert_eq!(bar, &before[key], "an untouched bar stays as it is");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_without_its_only_trade_is_gone_and_its_neighbour_knows() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let first = lake
        .insert(&[trade("A-B", 0, 1, 100), trade("A-B", 3 * MINUTE, 3, 100)])
        .await;
    let alone = lake.insert(&[trade("A-B", MINUTE, 2, 100)]).await;
    gold.refresh().await.unwrap();
    let complete = |bars: &StoredBars| bars.values().map(|bar| bar.is_complete).collect::<Vec<_>>();
    assert_eq!(complete(&lake.gold("1m").await), [None, Some(true), None]);
    lake.change(&[], &alone, true, "REFRESH").await;
    gold.refresh().await.unwrap();
    assert_eq!(complete(&lake.gold("1m").await), [Some(false), Some(false)]);
    lake.change(&[], &first, true, "REFRESH").await;
    gold.refresh().await.unwrap();
    assert!(lake.gold("1m").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_missing_between_two_bars_is_missing_in_either() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let complete = async |gold: &mut Gold, trades: &[Row]| {
        lake.insert(trades).await;
        gold.refresh().await.unwrap();
        let bars = lake.gold("1m").await;
        bars.values()
            .map(|bar| (bar.is_complete, bar.revision))
            .collect::<Vec<_>>()
    };
    let minutes = |minutes: &[(i64, i64)]| -> Vec<Row> {
        let one = |(at, seq): &(i64, i64)| trade("A-B", at * MINUTE, *seq, 100);
        minutes.iter().map(one).collect()
    };
    assert_eq!(
        complete(&mut gold, &minutes(&[(0, 1), (1, 2)])).await,
        [(None, 1), (None, 1)]
    );
    // 4 comes, two hours later: 3 may have been the last trade of the minute before, or the first of this one.
    assert_eq!(
        complete(&mut gold, &minutes(&[(121, 4)])).await,
        [(None, 1), (Some(false), 2), (Some(false), 1)]
    );
    assert_eq!(
        complete(&mut gold, &minutes(&[(2, 3)])).await,
        [(None, 1), (Some(true), 3), (Some(true), 1), (None, 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_at_once_gives_each_bar_its_first_revision() {
    let lake = TestLake::new().await;
    let rows: Vec<Row> = (0..6 * 24)
        .flat_map(|hour| ["A-B", "C-D"].map(|symbol| trade(symbol, hour * 60 * MINUTE, hour, 100)))
        .collect();
    lake.insert(&rows).await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let report = gold.refresh().await.unwrap();
    assert_eq!((report.commits, report.rows_out), (1, 2 * 6 * 24));
    let bars = lake.gold("1m").await;
    assert_eq!(said(&bars), expected(&rows, MINUTE));
    assert!(bars.values().all(|bar| bar.revision == 1));
    assert_eq!(
        report.files_added,
        6 * 24,
        "files that were written twice are committed once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_and_corrections_reopen_the_bar_that_they_name() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let rows: Vec<Row> = (0..10)
        .map(|n| trade("A-B", n * 10_000_000, n, i128::from(100 + n)))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    lake.insert(&[
        amendment("cancel", &rows[0], 3 * MINUTE, 1),
        amendment("correct", &rows[9], 3 * MINUTE, 500),
        amendment("correct", &rows[3], 3 * MINUTE, 7),
    ])
    .await;
    lake.insert(&[amendment("correct", &rows[3], 4 * MINUTE, 8)]).await;
    gold.refresh().await.unwrap();
    let bars = lake.gold("1m").await;
    let mut amended = rows[1..].to_vec();
    amended[2].trade.price = 8_000_000_000_000;
    amended[8].trade.price = 500_000_000_000_000;
    amended
        .iter_mut()
        .filter(|row| [3, 9].contains(&row.trade.seq))
        .for_each(|row| row.trade.side = amendment_side(row));
    assert_eq!(
        bars.values().map(|bar| bar.bar.clone()).collect::<Vec<_>>(),
        expected(&amended, MINUTE)
            .into_values()
            .map(|bar| bar.0)
            .collect::<Vec<_>>()
    );
    assert!(bars.values().all(|bar| bar.revision >= 2));
}

fn amendment_side(row: &Row) -> Option<String> {
    let at = if row.trade.seq == 3 { 4 * MINUTE } else { 3 * MINUTE };
    amendment("correct", row, at, 1).trade.side
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_does_not_fit_is_withheld_and_reported() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut wide = trade("WIDE", 0, 1, 1);
    (wide.trade.price, wide.trade.qty) = (
        9_999_999_999_999_999_999_999_999_999,
        9_999_999_999_999_999_999_999_999_999,
    );
    lake.insert(&[wide, trade("A-B", 0, 1, 100)]).await;
    let report = gold.refresh().await.unwrap();
    assert_eq!(report.quarantined, 1);
    assert_eq!(
        lake.gold("1m").await.into_keys().collect::<Vec<_>>(),
        [("sim".to_owned(), "A-B".to_owned(), START)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_and_retention_of_silver_change_no_bar() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let rows: Vec<Row> = (0..10).map(|n| trade("A-B", n * 10_000_000, n, 100)).collect();
    let adds = lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    let before = lake.gold("1m").await;
    let moved = lake.change(&rows, &adds, false, "OPTIMIZE").await;
    assert_eq!(gold.refresh().await.unwrap().commits, 0);
    lake.change(&[], &moved, true, "RETENTION").await;
    assert_eq!(gold.refresh().await.unwrap().commits, 0);
    lake.now_us.fetch_add(61_000_000, Ordering::SeqCst);
    assert_eq!(
        gold.refresh().await.unwrap().commits,
        1,
        "a minute later the position alone"
    );
    assert_eq!(lake.gold("1m").await, before);
    assert_eq!(
        Gold::open(lake.lake.clone(), options())
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap()
            .commits,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_closed_bar_said_stays_on_record() {
    let lake = TestLake::new().await;
    let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let only = lake.insert(&[trade("A-B", MINUTE, 1, 100)]).await;
    lake.insert(&[trade("A-B", 2 * MINUTE, 2, 100)]).await;
    gold.refresh().await.unwrap();
    lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
    // The open bar grows, and the closed one learns that nothing is missing behind it.
    lake.insert(&[trade("A-B", 2 * MINUTE + 1, 3, 100)]).await;
    gold.refresh().await.unwrap();
    assert!(lake.revisions("1m").await.is_empty());
    let first = lake.gold("1m").await;
    lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
    lake.insert(&[trade("A-B", MINUTE + 5, 0, 777)]).await;
    gold.refresh().await.unwrap();
    let key = ("sim".to_owned(), "A-B".to_owned(), START + MINUTE);
    let second = lake.gold("1m").await;
    assert_eq!(second[&key].revision, 2);
    let corrected = (key.clone(), first[&key].clone(), START + 2_000_000);
    assert_eq!(lake.revisions("1m").await, std::slice::from_ref(&corrected));
    lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
    lake.change(&[], &only, true, "REFRESH").await;
    gold.refresh().await.unwrap();
    let again = (key.clone(), second[&key].clone(), START + 3_000_000);
    assert_eq!(lake.revisions("1m").await, [corrected, again]);
    assert_eq!(lake.gold("1m").await[&key].revision, 3);
}

/// Every revision that a bar ever had, once: those before the newest on record, the newest in gold.
fn assert_whole_history(bars: &StoredBars, states: &[((String, String, i64), silver::StoredBar, i64)]) {
    for (key, bar) in bars {
        let mut revisions: Vec<i64> = states
            .iter()
            .filter(|(of, ..)| of == key)
            .map(|(_, state, _)| state.revision)
            .collect();
        revisions.push(bar.revision);
        assert_eq!(revisions, (1..=bar.revision).collect::<Vec<_>>(), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_is_on_record_once_through_cuts_and_races() {
    let lake = TestLake::new().await;
    let options = GoldOptions {
        revisions: KeepRevisions::All,
        take_over_after: std::time::Duration::from_millis(20),
        attempts: 50,
        ..options()
    };
    let open = async || Gold::open(lake.lake.clone(), options.clone()).await.unwrap();
    let (mut rows, mut cut) = (Vec::new(), 0);
    for step in 0..30i64 {
        let new: Vec<Row> = (0..6)
            .map(|n| {
                trade(
                    "A-B",
                    step * 7_000_000 + n * 1_000_000,
                    step * 6 + n,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        lake.now_us.fetch_add(1_000_000, Ordering::SeqCst);
        let (mut one, mut other) = (open().await, open().await);
        if step % 3 == 0 {
            let (first, second) = tokio::join!(one.refresh(), other.refresh());
            assert!(first.unwrap().commits + second.unwrap().commits > 0);
        } else {
            let patience = std::time::Duration::from_millis(2 + step as u64);
            cut += i32::from(tokio::time::timeout(patience, one.refresh()).await.is_err());
        }
    }
    assert!(cut > 2, "too few refreshes were cut to tell: {cut}");
    open().await.refresh().await.unwrap();
    let bars = lake.gold("1m").await;
    assert_eq!(said(&bars), expected(&rows, MINUTE));
    assert_whole_history(&bars, &lake.revisions("1m").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_puts_right_what_was_damaged_in_its_range() {
    use ticklake_engine::rebuild::{self, RebuildRange};
    use ticklake_sql::TableName;
    use ticklake_sql::commit::{Commit, Committer, Txn, removal};
    let lake = TestLake::new().await;
    let rows: Vec<Row> = (0..48)
        .flat_map(|hour| ["A-B", "C-D"].map(|symbol| trade(symbol, hour * 60 * MINUTE, hour, 100)))
        .collect();
    lake.insert(&rows).await;
    Gold::open(lake.lake.clone(), options())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    let whole = said(&lake.gold("1m").await);
    let gold = lake.lake.table(&TableName::gold_ohlcv("1m")).await.unwrap();
    let snapshot = gold.load(None).await.unwrap();
    #[allow(deprecated)]
    let removes = snapshot
        .snapshot()
        .unwrap()
        .log_data()
        .iter()
        .map(|file| removal(&file.add_action(), lake.lake.clock().now(), true))
        .collect();
    let lost = Commit {
        operation: "WRITE".to_owned(),
        txns: vec![Txn {
            app_id: "ticklake/gold.ohlcv_1m/writer".to_owned(),
            version: 99,
        }],
        removes,
        ..Commit::default()
    };
    Committer::open(&gold).await.unwrap().commit(lost).await.unwrap();
    let rebuilt = async |from: i64, until: i64, symbols: &[String]| {
        let range = RebuildRange::new(START + from, START + until, symbols).unwrap();
        rebuild::gold(&lake.lake, options(), &range, false).await.unwrap()
    };
    let report = rebuilt(30 * MINUTE, DAY, &["A-B".to_owned()]).await;
    assert_eq!((report.rows_out, report.commits), (23, 1));
    let keys: Vec<_> = lake.gold("1m").await.into_keys().collect();
    assert!(
        keys.iter()
            .all(|key| key.1 == "A-B" && key.2 > START && key.2 < START + DAY)
    );
    rebuilt(0, 2 * DAY, &[]).await;
    assert_eq!(said(&lake.gold("1m").await), whole);
    assert_eq!(rebuilt(0, 2 * DAY, &[]).await.commits, 0, "every bar is right");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_costs_its_minute_and_not_its_day() {
    let lake = TestLake::new().await;
    let options = GoldOptions {
        interval: "1d".to_owned(),
        ..options()
    };
    let mut gold = Gold::open(lake.lake.clone(), options).await.unwrap();
    let mut rows: Vec<Row> = (0..1_440)
        .flat_map(|n| ["A-B", "C-D"].map(|symbol| trade(symbol, n * MINUTE, n, i128::from(100 + n % 13))))
        .collect();
    lake.insert(&rows).await;
    gold.refresh().await.unwrap();
    for (at, seq) in [(DAY - 5, 1_440), (700 * MINUTE + 1, 1_441)] {
        let late = [trade("A-B", at, seq, 3)];
        lake.insert(&late).await;
        rows.extend(late);
        let report = gold.refresh().await.unwrap();
        assert_eq!(
            (report.rows_in, report.rows_out),
            (2, 1),
            "the other trade of the minute, and this one"
        );
        assert_eq!(said(&lake.gold("1d").await), expected(&rows, DAY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_refreshes_that_race_leave_each_bar_once() {
    let lake = TestLake::new().await;
    let mut one = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut other = Gold::open(lake.lake.clone(), options()).await.unwrap();
    let mut rows = Vec::new();
    for step in 0..5i64 {
        let new: Vec<Row> = (0..30)
            .map(|n| {
                trade(
                    "A-B",
                    step * 20_000_000 + n * 1_000_000,
                    step * 30 + n,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let (first, second) = tokio::join!(one.refresh(), other.refresh());
        let commits = first.unwrap().commits + second.unwrap().commits;
        assert!((1..=2).contains(&commits));
        assert_eq!(
            said(&lake.gold("1m").await),
            expected(&rows, MINUTE),
            "after step {step}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_cut_at_any_point_is_made_good_by_the_next() {
    let lake = TestLake::new().await;
    let mut rows = Vec::new();
    let mut cut = 0;
    for step in 0..24i64 {
        let new: Vec<Row> = (0..20)
            .map(|n| {
                trade(
                    ["A-B", "C-D"][n as usize % 2],
                    step * 9_000_000 + n * 400_000,
                    (step * 20 + n) / 2,
                    i128::from(100 + n),
                )
            })
            .collect();
        lake.insert(&new).await;
        rows.extend(new);
        let mut gold = Gold::open(lake.lake.clone(), options()).await.unwrap();
        // Dropping the future stops it at whatever it waits for: a read, a data file, the commit.
        let patience = std::time::Duration::from_millis(step as u64);
        cut += i32::from(tokio::time::timeout(patience, gold.refresh()).await.is_err());
    }
    assert!(cut > 3, "too few refreshes were cut to tell: {cut}");
    Gold::open(lake.lake.clone(), options())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!(said(&lake.gold("1m").await), expected(&rows, MINUTE));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_intervals_and_kinds_have_tables_of_their_own() {
    let lake = TestLake::new().await;
    let mut rows: Vec<Row> = (0..50)
        .map(|n| trade("A-B", n * 61_000_000, n, i128::from(100 + n)))
        .collect();
    for row in &mut rows[25..] {
        row.venue = "other".to_owned();
    }
    let mut aggregates = rows.clone();
    for row in &mut aggregates {
        (row.kind, row.trade.count) = ("agg".to_owned(), 3);
    }
    lake.insert(&rows).await;
    lake.insert(&aggregates).await;
    let kinds = BTreeMap::from([("other".to_owned(), "agg".to_owned())]);
    for (interval, width) in [("5m", 5 * MINUTE), ("1d", DAY)] {
        let options = GoldOptions {
            interval: interval.to_owned(),
            kinds: kinds.clone(),
            ..options()
        };
        Gold::open(lake.lake.clone(), options)
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap();
        let mut wanted = rows[..25].to_vec();
        wanted.extend(aggregates[25..].iter().cloned().map(|row| Row {
            kind: "trade".to_owned(),
            ..row
        }));
        assert_eq!(said(&lake.gold(interval).await), expected(&wanted, width), "{interval}");
    }
}

/// The recorded trades, their numbers taken from the text.
fn recorded() -> Vec<Row> {
    use std::io::BufRead;
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

#[tokio::test(flavor = "multi_thread")]
async fn sorted_files_are_folded_in_runs_and_proven_filters_are_not_asked() {
    use datafusion::execution::runtime_env::RuntimeEnv;
    use ticklake_engine::scan::{DataFile, OrderedScan, session};
    let lake = TestLake::new().await;
    let adds = lake.insert(&[trade("A-B", 0, 1, 100), trade("A-B", 1, 2, 100)]).await;
    let silver = lake
        .lake
        .table(&ticklake_sql::TableName::silver_trades())
        .await
        .unwrap();
    let files = adds
        .into_iter()
        .map(|add| std::sync::Arc::new(DataFile::new(add, silver.spec())))
        .collect();
    for partitions in [1, 2] {
        let context = session::session(
            std::sync::Arc::new(RuntimeEnv::default()),
            session::config(partitions),
            &[&silver],
        )
        .unwrap();
        let scan = OrderedScan::new(silver.clone(), Clone::clone(&files)).unwrap();
        context.register_table("trades", std::sync::Arc::new(scan)).unwrap();
        let plan = |filter: &str| {
            let sql = format!(
                "SELECT ohlcv(ts, seq, trade_id, price, qty, side, count) FROM trades WHERE {filter} GROUP BY venue, symbol, date_bin(INTERVAL '1 minute', ts)"
            );
            let context = context.clone();
            async move {
                let plan = context.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
                datafusion::physical_plan::displayable(plan.as_ref())
                    .indent(false)
                    .to_string()
            }
        };
        let proven = plan("kind = 'trade' AND ts >= TIMESTAMP '2025-01-01T00:00:00Z'").await;
        assert!(
            proven.contains("BarRunsExec")
                && !proven.contains("FilterExec")
                && !proven.contains("projection=[venue, symbol, kind"),
            "{proven}"
        );
        let open = plan("kind = 'trade' AND seq > 1").await;
        assert!(open.contains("BarRunsExec") && open.contains("FilterExec"), "{open}");
        assert!(plan("kind = 'agg'").await.contains("EmptyExec"));
    }
}

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

fn us(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// Daily bars of a venue that keeps a session, and of one that does not, of the same trades, refreshed with each; all others afterwards.
async fn check_sessions(session: &str, trades: &[&str], expected: &[(&str, &str, i64)], utc_days: usize) {
    let lake = TestLake::new().await;
    let with_sessions = || GoldOptions {
        interval: "1d".to_owned(),
        sessions: [("nyse".to_owned(), Session::parse(session).unwrap())].into(),
        ..options()
    };
    let mut gold = Gold::open(lake.lake.clone(), with_sessions()).await.unwrap();
    for (seq, at) in trades.iter().enumerate() {
        let mut row = trade("A-B", us(at) - START, seq as i64, 100);
        row.venue = "nyse".to_owned();
        let other = Row {
            venue: "sim".to_owned(),
            ..row.clone()
        };
        lake.insert(&[row, other]).await;
        gold.refresh().await.unwrap();
    }
    let bars = |bars: &StoredBars| {
        let of_venue =
            |venue: &'static str| move |(key, _): &(&(String, String, i64), &silver::StoredBar)| key.0 == venue;
        let nyse = bars.iter().filter(of_venue("nyse"));
        let nyse: Vec<_> = nyse
            .map(|(key, bar)| (key.2, bar.bar.trade_count, bar.is_complete))
            .collect();
        (nyse, bars.iter().filter(of_venue("sim")).count())
    };
    let stepwise = lake.gold("1d").await;
    let (nyse, sim) = bars(&stepwise);
    let starts: Vec<_> = expected
        .iter()
        .map(|(start, _, count)| (us(start), *count, None))
        .collect();
    assert_eq!((nyse, sim), (starts, utc_days), "{session}");
    let ends: Vec<_> = expected.iter().map(|(_, end, _)| us(end)).collect();
    assert_eq!(lake.window_ends("1d", "nyse").await, ends);
    // The newest trade lies behind every window but the last.
    let closed = stepwise
        .iter()
        .filter(|(key, _)| key.0 == "nyse")
        .map(|(_, bar)| bar.is_closed);
    let watermark = trades.iter().map(|at| us(at)).max().unwrap();
    assert!(
        closed.eq(ends.iter().map(|end| *end <= watermark)),
        "{session}: {stepwise:?}"
    );
    let mut found = Vec::new();
    let nothing = std::collections::HashSet::new();
    recount(&lake.lake, &with_sessions(), &nothing, |difference| {
        found.push(difference)
    })
    .await
    .unwrap();
    assert_eq!(found, []);
    std::fs::remove_dir_all(lake.path().join("gold")).unwrap();
    Gold::open(lake.lake.clone(), with_sessions())
        .await
        .unwrap()
        .refresh()
        .await
        .unwrap();
    assert_eq!(said(&lake.gold("1d").await), said(&stepwise), "at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn daily_bars_keep_the_sessions_of_their_venue_through_changes_of_the_clock() {
    // Winter, then summer time from 9 March on; before the open, inside, at the close, a Sunday.
    let trades = [
        "2025-03-07T14:29:59Z",
        "2025-03-07T14:30:00Z",
        "2025-03-07T20:59:59Z",
        "2025-03-07T21:00:00Z",
        "2025-03-09T18:00:00Z",
        "2025-03-10T13:30:00Z",
        "2025-03-10T19:59:59Z",
        "2025-03-10T20:30:00Z",
        "2025-03-11T14:00:00Z",
    ];
    let bars = [
        ("2025-03-07T14:30:00Z", "2025-03-07T21:00:00Z", 2),
        ("2025-03-09T13:30:00Z", "2025-03-09T20:00:00Z", 1),
        ("2025-03-10T13:30:00Z", "2025-03-10T20:00:00Z", 2),
        ("2025-03-11T13:30:00Z", "2025-03-11T20:00:00Z", 1),
    ];
    check_sessions("America/New_York 09:30-16:00", &trades, &bars, 4).await;
    // Extended hours of winter end on the next UTC day, on which alone silver may have files.
    let trades = [
        "2025-01-03T00:30:00Z",
        "2025-01-02T09:00:00Z",
        "2025-01-03T01:00:00Z",
        "2025-01-03T09:00:00Z",
    ];
    let bars = [
        ("2025-01-02T09:00:00Z", "2025-01-03T01:00:00Z", 2),
        ("2025-01-03T09:00:00Z", "2025-01-04T01:00:00Z", 1),
    ];
    check_sessions("America/New_York 04:00-20:00", &trades, &bars, 2).await;
    check_sessions(
        "America/New_York 04:00-20:00",
        &trades[..1],
        &[("2025-01-02T09:00:00Z", "2025-01-03T01:00:00Z", 1)],
        1,
    )
    .await;
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

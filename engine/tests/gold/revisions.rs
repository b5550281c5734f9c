//! What a bar said before it was corrected stays on record, once.

use std::sync::atomic::Ordering;

use ticklake_engine::gold::{Gold, GoldOptions, KeepRevisions};

use crate::silver::{Row, StoredBar, StoredBars, TestLake};
use crate::{MINUTE, START, expected, options, said, trade};

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
fn assert_whole_history(bars: &StoredBars, states: &[((String, String, i64), StoredBar, i64)]) {
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

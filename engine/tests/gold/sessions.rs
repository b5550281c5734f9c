//! Daily bars of venues that keep a session.

use ticklake_engine::gold::{Gold, GoldOptions, Session, recount};

use crate::silver::{Row, StoredBar, StoredBars, TestLake};
use crate::{START, options, said, trade};

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
        let of_venue = |venue: &'static str| move |(key, _): &(&(String, String, i64), &StoredBar)| key.0 == venue;
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

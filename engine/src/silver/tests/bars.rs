//! From bronze to the bar: a trade said twice, in whatever way, is one count in its bar.

use ticklake_sql::TableName;

use super::lake::{Row, TestLake, row};
use super::open;
use crate::gold::{Gold, GoldOptions};

/// (trade_count, volume, close) of the only bar of an hour that has one.
async fn bar(lake: &TestLake) -> (String, String, String) {
    let table = TableName::gold_ohlcv("1m");
    let only = async |column: &str| {
        let values = lake.column(&table, column).await;
        assert_eq!(values.len(), 1, "one window, one bar: {values:?}");
        values[0].trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    // A count may end in zeros that mean something.
    let count = lake.column(&table, "trade_count").await.remove(0);
    (count, only("volume").await, only("close").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_said_twice_counts_once_in_its_bar() {
    let lake = TestLake::new().await;
    let again = |partition, offset| Row {
        partition,
        offset,
        ..row(1, "100")
    };
    let refresh = async || {
        // Opened anew each time: a restart between any two.
        open(&lake).await.refresh().await.unwrap();
        Gold::open(lake.lake.clone(), GoldOptions::default())
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap();
        bar(&lake).await
    };
    let said = |count: &str, volume: &str, close: &str| (count.to_owned(), volume.to_owned(), close.to_owned());

    // In one batch.
    lake.land(&[again(0, 5), again(0, 6)]).await;
    assert_eq!(refresh().await, said("1", "0.5", "100"));
    // In two, after a restart, beside a trade that is new.
    lake.land(&[again(0, 7), row(2, "101")]).await;
    assert_eq!(refresh().await, said("2", "1", "101"));
    // In another Kafka partition.
    lake.land(&[again(1, 1)]).await;
    assert_eq!(refresh().await, said("2", "1", "101"));
    // The one that the design names comes last: it takes the place of the other in silver, and its place in the bar.
    lake.land(&[again(0, 4)]).await;
    assert_eq!(refresh().await, said("2", "1", "101"));
    assert_eq!(lake.column(&TableName::silver_trades(), "offset").await, ["2", "4"]);
    // And where it says another price, the bar follows it, and the other one is set aside.
    lake.land(&[Row {
        offset: 0,
        ..row(2, "103")
    }])
    .await;
    assert_eq!(refresh().await, said("2", "1", "103"));
    assert_eq!(
        lake.column(&TableName::silver_quarantine(), "rule").await,
        ["conflicting_repeat"]
    );
}

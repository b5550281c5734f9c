//! Silver on a real lake: each guarantee with the input that would break it.

mod bars;
mod dropped;
pub(crate) mod lake;
mod order;
pub mod partitions;
mod rebuilds;
mod recordings;
mod restart;

use std::sync::atomic::Ordering;
use std::time::Duration;

use ticklake_sql::TableName;

use self::lake::{DAY, Row, T0, TestLake, row};
use super::{Silver, SilverOptions};

async fn open(lake: &TestLake) -> Silver {
    Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap()
}

/// The rules of quarantine and how many rows silver holds.
async fn outcome(lake: &TestLake) -> (usize, Vec<String>) {
    let rules = lake.column(&TableName::silver_quarantine(), "rule").await;
    (lake.lines(&TableName::silver_trades()).await.len(), rules)
}

#[tokio::test]
async fn what_breaks_a_rule_is_set_aside_and_the_rest_goes_on() {
    let lake = TestLake::new().await;
    let broken = [
        (
            "price_not_positive",
            Row {
                price: "0".into(),
                ..row(1, "")
            },
        ),
        (
            "price_not_positive",
            Row {
                price: "-1".into(),
                ..row(2, "")
            },
        ),
        (
            "qty_not_positive",
            Row {
                qty: "0.000".into(),
                ..row(3, "1")
            },
        ),
        (
            "qty_not_positive",
            Row {
                qty: "-0.5".into(),
                ..row(14, "1")
            },
        ),
        ("price_inexact", row(4, "0.0000000000001")),
        (
            "qty_inexact",
            Row {
                qty: "0.00000000001".into(),
                ..row(5, "1")
            },
        ),
        ("price_out_of_range", row(6, "10000000000000000")),
        (
            "qty_out_of_range",
            Row {
                qty: "1000000000000000000".into(),
                ..row(7, "1")
            },
        ),
        (
            "notional_overflow",
            Row {
                qty: "1.1".into(),
                ..row(8, "9999999999999999")
            },
        ),
        (
            "ts_too_late",
            Row {
                received_at: T0 - DAY,
                ..row(9, "1")
            },
        ),
        (
            "ts_too_early",
            Row {
                ts: 0,
                received_at: 0,
                ..row(10, "1")
            },
        ),
        (
            "no_reference",
            Row {
                kind: "cancel",
                ..row(14, "1")
            },
        ),
        (
            "conflicting_repeat",
            Row {
                offset: 900,
                ..row(11, "2")
            },
        ),
    ];
    let mut rows: Vec<Row> = broken.iter().map(|(_, row)| row.clone()).collect();
    rows.extend([
        row(11, "1"),
        row(12, "1.500e1"),
        Row {
            side: None,
            ..row(13, "0.000000000001")
        },
    ]);
    lake.land(&rows).await;
    let report = open(&lake).await.refresh().await.unwrap();

    let mut expected: Vec<_> = broken.iter().map(|(rule, _)| (*rule).to_owned()).collect();
    expected.sort();
    assert_eq!(outcome(&lake).await, (3, expected));
    assert_eq!(
        lake.column(&TableName::silver_trades(), "price").await,
        ["0.000000000001", "1.000000000000", "15.000000000000"]
    );
    assert_eq!(
        (report.rows_in, report.rows_out, report.quarantined, report.repeats),
        (rows.len() as u64, 3, broken.len() as u64, 0)
    );
    // Text stays as the venue wrote it.
    assert!(
        lake.column(&TableName::silver_quarantine(), "qty")
            .await
            .contains(&"0.000".to_owned())
    );
}

#[tokio::test]
async fn a_trade_counts_once_in_a_batch_in_two_after_a_restart_and_in_two_partitions() {
    let lake = TestLake::new().await;
    let again = |partition, offset| Row {
        partition,
        offset,
        ..row(1, "100")
    };
    lake.land(&[again(0, 5), again(0, 6)]).await;
    let mut silver = open(&lake).await;
    let report = silver.refresh().await.unwrap();
    assert_eq!((report.rows_out, report.repeats), (1, 1));
    lake.land(&[again(0, 7), row(2, "3")]).await;
    assert_eq!(silver.refresh().await.unwrap().repeats, 1);
    drop(silver);
    lake.land(&[again(1, 1)]).await;
    let report = open(&lake).await.refresh().await.unwrap();
    assert_eq!((report.rows_out, report.repeats, report.superseded), (0, 1, 0));
    assert_eq!(lake.column(&TableName::silver_trades(), "offset").await, ["2", "5"]);
    // A lesser one comes later.
    lake.land(&[again(0, 4)]).await;
    let report = open(&lake).await.refresh().await.unwrap();
    assert_eq!((report.rows_out, report.superseded, report.files_removed), (1, 1, 1));
    assert_eq!(lake.column(&TableName::silver_trades(), "offset").await, ["2", "4"]);
}

#[tokio::test]
async fn live_outranks_what_was_imported_before() {
    let lake = TestLake::new().await;
    lake.land(&[Row {
        source: "import",
        ..row(1, "100")
    }])
    .await;
    let mut silver = open(&lake).await;
    silver.refresh().await.unwrap();
    lake.land(&[Row {
        offset: 77,
        ..row(1, "100")
    }])
    .await;
    silver.refresh().await.unwrap();
    assert_eq!(lake.column(&TableName::silver_trades(), "source").await, ["live"]);
}

#[tokio::test]
async fn a_contradiction_is_set_aside_also_on_another_date() {
    let lake = TestLake::new().await;
    let mut silver = open(&lake).await;
    lake.land(&[row(1, "100")]).await;
    silver.refresh().await.unwrap();
    lake.land(&[Row {
        offset: 50,
        ts: T0 + 3 * DAY,
        received_at: T0 + 3 * DAY,
        ..row(1, "100")
    }])
    .await;
    silver.refresh().await.unwrap();
    assert_eq!(outcome(&lake).await, (1, vec!["conflicting_repeat".to_owned()]));
    let detail = lake.column(&TableName::silver_quarantine(), "detail").await;
    assert_eq!(
        detail,
        ["differs from the trade kept: ts 2025-01-04T00:00:00.000000Z, kept 2025-01-01T00:00:00.000001Z"]
    );
    // The same again says nothing new; before both, it survives and the other one goes aside.
    let other = |offset| Row {
        offset,
        ts: T0 + 3 * DAY,
        received_at: T0 + 3 * DAY,
        ..row(1, "100")
    };
    lake.land(&[other(51)]).await;
    assert_eq!(silver.refresh().await.unwrap().repeats, 1);
    lake.land(&[other(0)]).await;
    silver.refresh().await.unwrap();
    assert_eq!(lake.column(&TableName::silver_trades(), "offset").await, ["0"]);
    assert_eq!(lake.column(&TableName::silver_quarantine(), "offset").await, ["1"]);
}

#[tokio::test]
async fn a_repeat_that_differs_in_any_of_price_qty_side_and_ts_is_set_aside() {
    let lake = TestLake::new().await;
    let mut silver = open(&lake).await;
    lake.land(&[row(1, "100")]).await;
    silver.refresh().await.unwrap();
    let differing = [
        Row {
            price: "101".into(),
            ..row(1, "")
        },
        Row {
            qty: "0.6".into(),
            ..row(1, "100")
        },
        Row {
            side: Some("sell"),
            ..row(1, "100")
        },
        Row {
            side: None,
            ..row(1, "100")
        },
        Row {
            ts: T0 + 2,
            ..row(1, "100")
        },
    ];
    for (offset, repeat) in (50..).zip(&differing) {
        lake.land(&[Row {
            offset,
            ..repeat.clone()
        }])
        .await;
        let report = silver.refresh().await.unwrap();
        assert_eq!(
            (report.rows_out, report.quarantined, report.repeats),
            (0, 1, 0),
            "{repeat:?}"
        );
    }
    assert_eq!(
        outcome(&lake).await,
        (1, vec!["conflicting_repeat".to_owned(); differing.len()])
    );
    let mut details = lake.column(&TableName::silver_quarantine(), "detail").await;
    details
        .iter_mut()
        .for_each(|detail| *detail = detail.replace("differs from the trade kept: ", ""));
    for said in [
        "price 101, kept 100",
        "qty 0.6, kept 0.5",
        "side sell, kept buy",
        "side unknown, kept buy",
    ] {
        assert!(details.iter().any(|detail| detail == said), "{said} in {details:?}");
    }
}

#[tokio::test]
async fn a_refresh_without_new_input_changes_nothing() {
    let lake = TestLake::new().await;
    lake.land(&[row(1, "100"), row(2, "0")]).await;
    let mut silver = open(&lake).await;
    assert!(silver.refresh().await.unwrap().changed());
    let (before, version) = (lake.tables().await, lake.version(&TableName::silver_trades()).await);
    assert_eq!(silver.refresh().await.unwrap().commits, 0);
    assert_eq!(open(&lake).await.refresh().await.unwrap().commits, 0);
    assert_eq!(
        (lake.tables().await, lake.version(&TableName::silver_trades()).await),
        (before, version)
    );
}

#[tokio::test]
async fn a_position_alone_is_committed_once_a_minute() {
    let lake = TestLake::new().await;
    lake.land(&[row(1, "100")]).await;
    let mut silver = open(&lake).await;
    silver.refresh().await.unwrap();
    for round in 1..4 {
        lake.land(&[Row {
            offset: 100 + round,
            ..row(1, "100")
        }])
        .await;
        assert_eq!(silver.refresh().await.unwrap().commits, 0);
    }
    lake.now_us.fetch_add(61_000_000, Ordering::SeqCst);
    assert_eq!(silver.refresh().await.unwrap().commits, 1);
    lake.now_us.fetch_add(61_000_000, Ordering::SeqCst);
    assert_eq!(silver.refresh().await.unwrap().commits, 0, "the input did not move");
    assert_eq!(
        open(&lake).await.read_to(),
        Some(lake.version(&TableName::bronze_trades()).await)
    );
}

#[tokio::test]
async fn the_commit_tells_the_watermarks() {
    let lake = TestLake::new().await;
    let mut silver = open(&lake).await;
    let bound = async || {
        let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
        let entry = ticklake_sql::log::read(&table, lake.version(table.name()).await)
            .await
            .unwrap()
            .unwrap();
        entry.info_value("watermarks").unwrap()["binance-spot"]
            .as_i64()
            .unwrap()
    };
    lake.land(&[
        row(5, "100"),
        Row {
            ts: T0 + 9 * DAY,
            received_at: T0 + 9 * DAY,
            ..row(9, "0")
        },
    ])
    .await;
    silver.refresh().await.unwrap();
    assert_eq!(bound().await, T0 + 5);
    lake.land(&[row(3, "100")]).await;
    silver.refresh().await.unwrap();
    assert_eq!(bound().await, T0 + 5);
    // The latest trade gives way to a lesser repeat with an earlier time: the watermark is what silver holds, in whatever order.
    lake.land(&[Row {
        offset: 0,
        ts: T0 + 1,
        ..row(5, "100")
    }])
    .await;
    silver.refresh().await.unwrap();
    assert_eq!(bound().await, T0 + 3);
}

#[tokio::test]
async fn rows_are_sorted_in_one_file_a_date() {
    let lake = TestLake::new().await;
    let next_day = |id: i64| Row {
        ts: T0 + DAY + id,
        received_at: T0 + DAY + id,
        ..row(id, "1")
    };
    let eth = |id: i64| Row {
        symbol: "ETH-USDT",
        ..row(id, "1")
    };
    lake.land(&[row(9, "1"), next_day(3), eth(2), row(1, "1"), next_day(2), eth(1)])
        .await;
    let report = open(&lake).await.refresh().await.unwrap();
    assert_eq!(report.files_added, 2);
    let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    for uri in table.load(None).await.unwrap().get_file_uris().unwrap() {
        let file = std::fs::File::open(uri.strip_prefix("file://").unwrap_or(&uri)).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap();
        let batch = reader.map(Result::unwrap).next().unwrap();
        let symbols = super::columns::strings(&batch, "symbol").unwrap();
        let ids = super::columns::strings(&batch, "trade_id").unwrap();
        let rows: Vec<_> = (0..batch.num_rows())
            .map(|row| (symbols.value(row), ids.value(row)))
            .collect();
        assert!(rows.is_sorted(), "{rows:?} in {uri}");
    }
}

#[tokio::test]
async fn the_schedule_refreshes_as_bronze_is_committed() {
    use crate::schedule::{self, Every, JobOptions, ScheduleOptions};
    let lake = TestLake::new().await;
    let status = std::sync::Arc::new(crate::EngineStatus::default());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let mut checkpoint = JobOptions::checkpoint(Every::parse("1h").unwrap());
    checkpoint.jitter = Duration::from_millis(1);
    let jobs = vec![
        JobOptions::silver(SilverOptions::default(), Every::parse("1h").unwrap()),
        checkpoint,
    ];
    let running = tokio::spawn(schedule::run(
        lake.lake.clone(),
        jobs,
        ScheduleOptions::default(),
        status.clone(),
        shutdown.clone(),
    ));
    let wait_for = async |rows: u64| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while status.snapshot()["jobs"]["silver"]["rows_out"].as_u64().unwrap_or(0) < rows
            || status.successes("checkpoint") == 0
        {
            assert!(tokio::time::Instant::now() < deadline, "{}", status.snapshot());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    while status.successes("silver") == 0 {
        tokio::task::yield_now().await;
    }
    lake.land(&[row(1, "1")]).await;
    wait_for(1).await;
    lake.land(&[row(2, "1"), row(3, "1")]).await;
    wait_for(3).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(outcome(&lake).await.0, 3);
}

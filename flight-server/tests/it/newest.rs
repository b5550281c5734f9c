//! Searches for the newest rows over many files: the right rows, and few files touched.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use ticklake_flight_server::ServerOptions;

use crate::fixture::*;

const FILES: i64 = 64;

#[tokio::test]
async fn every_order_finds_its_rows_over_many_files() {
    let lake = TestLake::empty();
    // Three bars a file, in an order of commits that is none of time.
    for i in 0..FILES {
        let minute = (i * 37 % FILES) * 3;
        lake.add_bars(["BTC-USDT", "ETH-USDT"][i as usize % 2], minute..minute + 3)
            .await;
    }
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    for filter in ["true", "symbol = 'ETH-USDT'", "trade_count % 7 = 0", "open < 150"] {
        for order in [
            "window_start DESC",
            "window_start",
            "open DESC",
            "symbol DESC, window_start",
        ] {
            for limit in [1, 2, 5, 40] {
                let top =
                    format!("SELECT window_start FROM gold.ohlcv_1m WHERE {filter} ORDER BY {order} LIMIT {limit}");
                let all = format!(
                    "SELECT window_start FROM (SELECT window_start, row_number() OVER (ORDER BY {order}) AS place
                     FROM gold.ohlcv_1m WHERE {filter}) WHERE place <= {limit} ORDER BY place"
                );
                assert_eq!(
                    times(&rows(&mut client, &top).await),
                    times(&rows(&mut client, &all).await),
                    "{top}"
                );
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_newest_row_touches_few_files() {
    let lake = TestLake::empty();
    for minute in 0..FILES {
        lake.add_bars("BTC-USDT", minute..minute + 1).await;
    }
    let server = lake.serve(ServerOptions::default()).await;
    let mut client = server.client().await;
    let plan = rows(
        &mut client,
        "EXPLAIN ANALYZE SELECT * FROM gold.ohlcv_1m WHERE symbol = 'BTC-USDT' ORDER BY window_start DESC LIMIT 1",
    )
    .await;
    let text = plan.column(1).as_string::<i32>().iter().flatten().collect::<String>();
    let opened: i64 = text
        .split_once("files_ranges_pruned_statistics=")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(opened < FILES / 4, "{opened} of {FILES} files were opened: {text}");
    server.stop().await;
}

fn times(batch: &datafusion::arrow::array::RecordBatch) -> Vec<i64> {
    batch
        .column(0)
        .as_primitive::<TimestampMicrosecondType>()
        .values()
        .to_vec()
}

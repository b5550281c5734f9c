//! Not a test of correctness and never timed by one: prints what a refresh costs, `cargo test -p ticklake-engine --release speed -- --ignored --nocapture`.

use std::time::Instant;

use super::lake::{Row, TestLake, row};
use super::open;

const SYMBOLS: [&str; 10] = ["A-T", "B-T", "C-T", "D-T", "E-T", "F-T", "G-T", "H-T", "I-T", "J-T"];

fn trades(from: i64, rows: i64) -> Vec<Row> {
    let trade = |n: i64| Row {
        symbol: SYMBOLS[(n % 10) as usize],
        ..row(n, "64231.12")
    };
    (from..from + rows).map(trade).collect()
}

#[ignore = "prints figures"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_speed() {
    let lake = TestLake::new().await;
    for chunk in 0..5 {
        lake.land(&trades(chunk * 100_000, 100_000)).await;
    }
    let mut silver = open(&lake).await;
    let started = Instant::now();
    let report = silver.refresh().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{{\"figure\":\"silver_backlog\",\"rows\":{},\"rows_per_s\":{:.0}}}",
        report.rows_in,
        report.rows_in as f64 / seconds
    );

    let mut millis = Vec::new();
    for refresh in 0..400 {
        lake.land(&trades(1_000_000 + refresh * 2_000, 2_000)).await;
        let started = Instant::now();
        silver.refresh().await.unwrap();
        millis.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let median = |millis: &[f64]| {
        let mut sorted = millis.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    println!(
        "{{\"figure\":\"silver_refresh_ms\",\"rows\":2000,\"first_100\":{:.1},\"last_100\":{:.1}}}",
        median(&millis[..100]),
        median(&millis[300..])
    );
}

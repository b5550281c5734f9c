//! A day of `up` at its defaults with time compressed: what lies in the lake hour by hour, and what is left after the logs are cleaned up.
//!
//! `cargo bench --workspace --bench day_of_up`; TICKLAKE_BENCH_KAFKA (127.0.0.1:9092), TICKLAKE_BENCH_HOURS (2; 24 is the whole day),
//! TICKLAKE_BENCH_RATE (1,000 trades/s, the default of `up`), TICKLAKE_BENCH_DIR.
//!
//! The clock is an argument of every stage, so half a second passes when its work is done: 500 simulated trades go to the broker, ingest itself
//! carries them to bronze in one commit, as the commit age of half a second would, then silver and both golds refresh, as the wake-up on commit
//! would have them. Checkpoints, log clean-up, optimize and vacuum run on the
//! schedule of `up`, by the same clock. Fewer hours than 24, from one on, are also scaled to a
//! day, and the line says so. Beside the lake there is only the embedded broker's log, which is not measured here: Apache Kafka holds the trades.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, NaiveTime};
use serde_json::json;
use ticklake_sql::{Clock, Durability, History, Lake, LakeOptions, log};

use figures::{quantile, rounded, rss_mb, setting};
use stages::Stages;

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../topic/mod.rs"]
mod topic;

mod stages;

mod storage;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `ingest.commit_age` at its default.
const COMMIT_AGE: Duration = Duration::from_millis(500);
const COMMITS_PER_HOUR: u64 = 7_200;
/// Of the tables in the lake of `up`.
pub const HISTORY: History = History {
    removed_files: Duration::from_secs(2 * 3_600),
    log: Duration::from_secs(4 * 3_600),
};
/// Past every retention of tables and logs.
const LATER: Duration = Duration::from_secs(9 * 86_400);

fn main() {
    let hours: f64 = setting("TICKLAKE_BENCH_HOURS", 2.0);
    let rate: u64 = setting("TICKLAKE_BENCH_RATE", 1_000);
    std::fs::create_dir_all(figures::folder()).unwrap();
    let folder = tempfile::tempdir_in(figures::folder()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(day(folder.path(), hours, rate));
}

/// A clock that stands still until it is moved on.
#[derive(Clone)]
pub struct MovedClock(Arc<AtomicI64>);

impl MovedClock {
    /// Last midnight: log clean-up compares this clock with the times that the file system gives files, which are of today.
    fn at_midnight() -> Self {
        let midnight = Clock::system().now().date_naive().and_time(NaiveTime::MIN).and_utc();
        Self(Arc::new(AtomicI64::new(midnight.timestamp_micros())))
    }

    pub fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || DateTime::from_timestamp_micros(time.now_us()).unwrap())
    }
}

async fn day(folder: &Path, hours: f64, rate: u64) {
    let commits = (hours * COMMITS_PER_HOUR as f64).round() as u64;
    let time = MovedClock::at_midnight();
    // As `up` leaves it.
    let options = LakeOptions {
        durability: Durability::Os,
        history: Some(HISTORY),
        ..LakeOptions::default()
    };
    let lake = Lake::open(folder.to_str().unwrap(), options, time.clock()).unwrap();
    let trades = rate * COMMIT_AGE.as_millis() as u64 / 1_000;
    let mut stages = Stages::start(&lake, &time, trades).await;
    for commit in 1..=commits {
        stages.half_second().await;
        time.advance(COMMIT_AGE);
        if commit % COMMITS_PER_HOUR == 0 || commit == commits {
            let hour = rounded(commit as f64 / COMMITS_PER_HOUR as f64);
            report_hour(&lake, &mut stages, hour).await;
        }
    }
    stages.stop().await;
    let tables = lake.tables().await.unwrap();
    for table in &tables {
        let stored = storage::of(folder, table).await;
        let mut line = stored.line();
        if table.name().schema() == "gold" {
            line["bytes_written_per_bar"] = json!(rounded(stored.data_bytes as f64 / stored.rows.max(1) as f64));
        }
        // Less than an hour says nothing of gold, whose files span one.
        if (1.0..24.0).contains(&hours) && stored.rows > 0 {
            line["scaled_to_24_hours"] = stored.scaled(24.0 / hours).line();
        }
        print("the day's end", hours, line);
    }
    time.advance(LATER);
    for table in &tables {
        log::checkpoint(table, None).await.unwrap();
        print(
            "nine days later, after log clean-up",
            hours,
            storage::of(folder, table).await.line(),
        );
    }
}

/// What there is after so many hours, and what the last one cost.
async fn report_hour(lake: &Lake, stages: &mut Stages, hour: f64) {
    let folder = Path::new(lake.uri());
    for table in lake.tables().await.unwrap() {
        print("hour", hour, storage::of(folder, &table).await.line());
    }
    for (stage, mut ms) in stages.take_times() {
        let line = json!({
            "stage": stage, "runs": ms.len(), "median_ms": quantile(&mut ms, 0.5).map(rounded), "p99_ms": quantile(&mut ms, 0.99).map(rounded),
            "rss_mb": rss_mb(std::process::id()),
        });
        print("hour", hour, line);
    }
}

fn print(figure: &str, hours: f64, mut line: serde_json::Value) {
    line["bench"] = json!("day_of_up");
    line["figure"] = json!(figure);
    line["hours"] = json!(hours);
    figures::print(line);
}

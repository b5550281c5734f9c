//! Freshness: from a trade's receive time to the answer of a SQL query that shows it, in bronze and in a one-minute bar, on a date that already
//! holds 20,000,000 rows. Every role is the binary as it ships, with its default settings.
//!
//! `cargo bench --workspace --bench freshness`; TICKLAKE_BENCH_KAFKA (127.0.0.1:9092), TICKLAKE_BENCH_ROWS (20,000,000),
//! TICKLAKE_BENCH_COMMIT_ROWS (1,000,000, of the prepared bronze commits), TICKLAKE_BENCH_DIR (the prepared lake is kept for the day),
//! TICKLAKE_BENCH_MODES (up,apart,embedded), TICKLAKE_BENCH_RATE (10,000), TICKLAKE_BENCH_EMBEDDED_RATE (1,000),
//! TICKLAKE_BENCH_WARMUP_S (20), TICKLAKE_BENCH_SECONDS (60), TICKLAKE_BENCH_PAUSE_MS (50, between two queries of one connection).
//!
//! Two connections ask over Flight SQL without end, one for new bronze rows, one for the newest bars. A trade's freshness is the wall clock when
//! the first answer with it has arrived whole, less its `received_at`: the query's own time and the pause before it are in the figure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::time::Duration;

use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use figures::setting;
use probe::Connection;
use roles::{Mode, Roles};

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../topic/mod.rs"]
mod topic;

mod prepared;

mod roles;

mod probe;

mod outcome;

/// What is not visible so long after the last measured trade is reported as unseen.
const GRACE: Duration = Duration::from_secs(15);

fn main() {
    let rows = setting("TICKLAKE_BENCH_ROWS", 20_000_000);
    let clock = Clock::system();
    let brokers = topic::brokers();
    let modes: Vec<Mode> = setting("TICKLAKE_BENCH_MODES", "up,apart,embedded".to_owned())
        .split(',')
        .map(Mode::parse)
        .collect();
    let folder = figures::folder();
    let lake = prepared::lake(&folder, &brokers, rows, &clock);
    for mode in modes {
        let run = folder.join(format!("freshness-run-{}", mode.name()));
        let _none = std::fs::remove_dir_all(&run);
        prepared::copy(&lake, &run.join("lake"));
        measure(mode, &run, &brokers, rows, &clock);
        std::fs::remove_dir_all(&run).unwrap();
    }
}

fn measure(mode: Mode, folder: &Path, brokers: &str, rows: u64, clock: &Clock) {
    let rate = match mode {
        Mode::Embedded => setting("TICKLAKE_BENCH_EMBEDDED_RATE", 1_000),
        Mode::Up | Mode::Apart => setting("TICKLAKE_BENCH_RATE", 10_000),
    };
    let warm_up = Duration::from_secs(setting("TICKLAKE_BENCH_WARMUP_S", 20));
    let measured = Duration::from_secs(setting("TICKLAKE_BENCH_SECONDS", 60));
    let pause = Duration::from_millis(setting("TICKLAKE_BENCH_PAUSE_MS", 50));
    let topic = format!("freshness-{}-{}", mode.name(), clock.now_us());
    let began_us = clock.now_us();
    let mut roles = Roles::start(mode, folder, brokers, &topic, rate);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (seen, load) = runtime.block_on(async {
        let server = roles.server().await;
        let stop = CancellationToken::new();
        let bronze = tokio::spawn(probe::bronze(
            Connection::open(&server).await,
            clock.clone(),
            began_us,
            pause,
            stop.clone(),
        ));
        let gold = tokio::spawn(probe::gold(
            Connection::open(&server).await,
            clock.clone(),
            began_us,
            pause,
            stop.clone(),
        ));
        tokio::time::sleep(warm_up).await;
        roles.assert_running();
        let before = roles.cpu_seconds();
        let from_us = clock.now_us();
        tokio::time::sleep(measured).await;
        let until_us = clock.now_us();
        let cores = (roles.cpu_seconds() - before) / measured.as_secs_f64();
        tokio::time::sleep(GRACE).await;
        roles.assert_running();
        stop.cancel();
        let seen = outcome::Seen {
            from_us,
            until_us,
            ended_us: clock.now_us(),
            bronze: bronze.await.unwrap(),
            gold: gold.await.unwrap(),
        };
        (
            seen,
            outcome::Load {
                cores,
                peaks: roles.peaks_mb(),
            },
        )
    });
    roles.stop();
    if mode != Mode::Embedded {
        topic::delete(brokers, &topic);
    }
    outcome::report(mode.name(), rate, rows, &seen, &load);
}

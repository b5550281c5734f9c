//! The date that already holds its rows: simulated trades of today, spread from midnight to two minutes ago, carried through Kafka, bronze, silver
//! and gold by the binary itself. Made once a day and kept; every run works on a copy that shares the files.

use std::path::{Path, PathBuf};

use chrono::NaiveTime;
use ticklake_ingest::feed::sim::instruments::choose;
use ticklake_ingest::feed::sim::{Market, SimOptions};
use ticklake_ingest::trade::Venue;
use ticklake_sql::Clock;

use crate::figures::setting;
use crate::roles::run_to_end;
use crate::topic::Topic;

const PREFIX: &str = "freshness-lake-";
/// Live trades begin after the prepared ones.
const UNTIL_AGO_US: i64 = 120_000_000;
/// Below this the rows of a day would lie on top of each other: a market makes at most one trade a microsecond, and bars want minutes.
const LEAST_SPAN_US: i64 = 180_000_000;
const RECEIVED_AFTER_US: i64 = 1_000;

/// The folder of the prepared lake.
pub fn lake(folder: &Path, brokers: &str, rows: u64, clock: &Clock) -> PathBuf {
    let commit_rows: u64 = setting("TICKLAKE_BENCH_COMMIT_ROWS", 1_000_000);
    let today = clock.now().date_naive();
    let name = format!("{PREFIX}{today}-{rows}-{commit_rows}");
    let made = folder.join(&name);
    if !made.join("complete").exists() {
        std::fs::create_dir_all(folder).unwrap();
        remove_earlier(folder);
        std::fs::create_dir_all(&made).unwrap();
        let topic = fill(brokers, &format!("{name}-{}", clock.now_us()), rows, clock);
        carry(&made, brokers, &topic.name, commit_rows);
        topic.delete();
        std::fs::write(made.join("complete"), "").unwrap();
    }
    made.join("lake")
}

/// Lakes of other days hold no row of this one.
fn remove_earlier(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

fn fill(brokers: &str, name: &str, rows: u64, clock: &Clock) -> Topic {
    let midnight = clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let (from_us, until_us) = (midnight.timestamp_micros(), clock.now_us() - UNTIL_AGO_US);
    assert!(
        until_us - from_us >= LEAST_SPAN_US,
        "the UTC day is too young to hold {rows} rows: run this five minutes after midnight UTC or later"
    );
    let topic = Topic::open(brokers, name);
    let options = SimOptions::default();
    let instruments = choose(options.symbol_count, &[]).unwrap();
    let mut market = Market::new(Venue::new(&options.venue), &instruments, options.seed, from_us);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for number in 0..rows {
        let ts = from_us + (i128::from(until_us - from_us) * i128::from(number) / i128::from(rows)) as i64;
        let trade = market.next_trade(ts, ts + RECEIVED_AFTER_US);
        key.clear();
        value.clear();
        trade.write_key(&mut key);
        trade.write_json(&mut value);
        topic.send(None, &key, &value);
    }
    topic.flush();
    topic
}

/// What `ingest` and `refresh` make of the topic.
fn carry(folder: &Path, brokers: &str, topic: &str, commit_rows: u64) {
    let lake = folder.join("lake");
    let lake = lake.to_str().unwrap();
    let commit_rows = commit_rows.to_string();
    let (kafka, log) = (
        ["--bootstrap-servers", brokers, "--topic", topic],
        ["--log-format", "json"],
    );
    let ingest = [
        "ingest",
        "--lake",
        lake,
        "--until-latest",
        "--commit-rows",
        &commit_rows,
        "--commit-age",
        "1h",
    ];
    run_to_end(folder, &[&ingest[..], &kafka, &log].concat());
    run_to_end(folder, &[&["refresh", "--lake", lake][..], &log].concat());
}

/// A lake of its own that may grow: no file of a lake is ever written in place, so the copy shares them.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if !entry.file_type().unwrap().is_dir() {
            std::fs::hard_link(entry.path(), target).unwrap();
        } else if entry.file_name() != "_ticklake" {
            copy(&entry.path(), &target);
        }
    }
}

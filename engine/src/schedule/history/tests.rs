//! The history on a real folder: rows add up, are written seldom, and go with their dates.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, TableName};

use super::*;
use crate::verify::Snapshot;

struct TestLake {
    lake: Lake,
    now_us: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl TestLake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_us = Arc::new(AtomicI64::new(1_790_000_000_000_000));
        let shown = now_us.clone();
        let clock = Clock::from_fn(move || DateTime::from_timestamp_micros(shown.load(Ordering::SeqCst)).unwrap());
        let options = LakeOptions {
            durability: Durability::Os,
            ..LakeOptions::default()
        };
        let lake = Lake::open(folder.path().to_str().unwrap(), options, clock).unwrap();
        Self {
            lake,
            now_us,
            _folder: folder,
        }
    }

    /// Commits and rows of system.jobs.
    async fn written(&self) -> (u64, u64) {
        match Snapshot::newest(&self.lake, &TableName::system_jobs()).await.unwrap() {
            Some(jobs) => (jobs.version, jobs.rows()),
            None => (0, 0),
        }
    }
}

fn ran(rows: u64) -> Ran {
    Ran {
        rows_in: rows,
        rows_out: rows,
        input_from: Some(rows),
        input_to: Some(rows + 1),
        effect: rows > 0,
        ..Ran::default()
    }
}

#[tokio::test]
async fn a_thousand_runs_of_a_job_are_one_row() {
    let lake = TestLake::new();
    let history = History::new("host, process 1".into());
    for at in 0..1_000 {
        let outcome = ran(u64::try_from(at).unwrap() % 2);
        history.note("silver", at, at + 1, Duration::from_millis(2), Ok(&outcome));
    }
    let failed = Error::TimedOut {
        job: "gold-1m".into(),
        seconds: 5,
    };
    history.note("gold-1m", 0, 9, Duration::from_secs(5), Err(&failed));
    let row = history.state.lock().unwrap().rows[&("silver".to_owned(), DONE)].clone();
    assert_eq!((row.runs, row.elapsed_ms, row.longest_ms), (1_000, 2_000, 2));
    assert_eq!((row.first_start_us, row.last_end_us), (0, 1_000));
    assert_eq!(
        (row.ran.rows_in, row.ran.input_from, row.ran.input_to),
        (500, Some(0), Some(2))
    );
    history.write(&lake.lake).await.unwrap();
    assert_eq!(lake.written().await, (1, 2), "one commit, a row a job and outcome");
    history.write(&lake.lake).await.unwrap();
    assert_eq!(lake.written().await, (1, 2), "nothing new is no commit");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_finds_nothing_to_do_has_a_row_an_hour() {
    let lake = TestLake::new();
    let history = History::new("host, process 1".into());
    let idle = async || {
        history.note("gold-1m", 0, 1, Duration::ZERO, Ok(&ran(0)));
        history.write(&lake.lake).await.unwrap();
        lake.written().await
    };
    assert_eq!(idle().await, (1, 1), "the first run shows that the job is there");
    assert_eq!(idle().await, (1, 1));
    tokio::time::advance(IDLE).await;
    assert_eq!(idle().await, (2, 2));
    // What was idle before counts with what is done.
    assert_eq!(idle().await, (2, 2));
    history.note("gold-1m", 2, 3, Duration::ZERO, Ok(&ran(1)));
    let runs = history.state.lock().unwrap().rows[&("gold-1m".to_owned(), DONE)].runs;
    assert_eq!(runs, 2);
}

#[tokio::test]
async fn what_cannot_be_written_now_is_written_later() {
    let lake = TestLake::new();
    let blocked = lake._folder.path().join("system");
    std::fs::write(&blocked, "a file where a folder should be").unwrap();
    let history = History::new("host, process 1".into());
    history.note("silver", 0, 1, Duration::ZERO, Ok(&ran(1)));
    history.write(&lake.lake).await.unwrap_err();
    history.note("silver", 2, 3, Duration::ZERO, Ok(&ran(1)));
    std::fs::remove_file(&blocked).unwrap();
    history.write(&lake.lake).await.unwrap();
    assert_eq!(lake.written().await, (1, 1));
}

#[tokio::test]
async fn rows_go_with_their_dates() {
    let lake = TestLake::new();
    let history = Arc::new(History::new("host, process 1".into()));
    let (day_us, kept) = (86_400_000_000, Duration::from_secs(2 * 86_400));
    for _ in 0..5 {
        history.note("silver", 0, 1, Duration::ZERO, Ok(&ran(1)));
        history.write(&lake.lake).await.unwrap();
        lake.now_us.fetch_add(day_us, Ordering::SeqCst);
    }
    sweep(&lake.lake, kept).await.unwrap();
    let left = lake.written().await.1;
    assert!((1..=3).contains(&left), "{left} rows of five days are left");
}

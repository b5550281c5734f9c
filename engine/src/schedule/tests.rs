//! Two schedulers on one lake: each job runs in one of them, and in the other when the first has ended or is not heard of any more.

use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::{TableName, log};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Every, JobOptions, ScheduleOptions};
use crate::silver::SilverOptions;
use crate::silver::tests::lake::{TestLake, row};
use crate::verify::Snapshot;
use crate::{EngineStatus, Result};

const DEADLINE: Duration = Duration::from_secs(30);

struct Scheduler {
    status: Arc<EngineStatus>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

fn start(lake: &TestLake, lease: Duration) -> Scheduler {
    let (status, shutdown) = (Arc::new(EngineStatus::default()), CancellationToken::new());
    let options = ScheduleOptions {
        lease,
        ..ScheduleOptions::default()
    };
    let every = Every::parse("20ms").unwrap();
    let jobs = vec![JobOptions::silver(SilverOptions::default(), every)];
    let running = super::run(lake.lake.clone(), jobs, options, status.clone(), shutdown.clone());
    Scheduler {
        status,
        shutdown,
        task: tokio::spawn(running),
    }
}

impl Scheduler {
    fn of_silver(&self, key: &str) -> serde_json::Value {
        self.status.snapshot()["jobs"]["silver"][key].clone()
    }

    async fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "no {what}: {}", self.status.snapshot());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn wait_for_rows(&self, rows: u64) {
        self.wait_for("rows", |of| of.of_silver("rows_out") == rows).await;
    }
}

/// Tokens of silver's commits in the order of its log, and how often a holder was shut out.
async fn tokens(lake: &TestLake) -> (Vec<i64>, usize) {
    let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
    let (mut tokens, mut fences) = (Vec::new(), 0);
    for version in 1..=table.latest_version(None).await.unwrap() {
        let entry = log::read(&table, version).await.unwrap().unwrap();
        fences += usize::from(entry.info.and_then(|info| info.operation).as_deref() == Some("LEASE"));
        tokens.extend(
            entry
                .txns
                .iter()
                .filter(|txn| txn.app_id == "lease/silver")
                .map(|txn| txn.version),
        );
    }
    (tokens, fences)
}

#[tokio::test]
async fn a_job_runs_in_one_of_two_schedulers_and_in_the_other_when_that_ends() {
    let lake = TestLake::new().await;
    let lease = Duration::from_secs(60);
    let one = start(&lake, lease);
    one.wait_for("run", |one| one.status.successes("silver") > 0).await;
    let other = start(&lake, Duration::from_secs(2));
    other
        .wait_for("standby", |other| other.of_silver("held_by").is_string())
        .await;
    for id in 1..=20 {
        lake.land(&[row(id, "1")]).await;
        one.wait_for_rows(u64::try_from(id).unwrap()).await;
    }
    assert_eq!(other.of_silver("runs"), 0);
    one.shutdown.cancel();
    one.task.await.unwrap().unwrap();
    // Within a beat, not within the lease that was given up.
    lake.land(&[row(21, "1")]).await;
    other.wait_for_rows(1).await;
    other.shutdown.cancel();
    other.task.await.unwrap().unwrap();
    let (tokens, fences) = tokens(&lake).await;
    assert_eq!(
        (tokens.len(), fences),
        (21, 0),
        "a commit a refresh that had rows, and no other"
    );
    assert!(
        tokens.is_sorted() && tokens.first() == Some(&1) && tokens.last() == Some(&2),
        "{tokens:?}"
    );
    let jobs = Snapshot::newest(&lake.lake, &TableName::system_jobs())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (jobs.version, jobs.rows()),
        (2, 2),
        "each told what it did when it ended"
    );
}

#[tokio::test]
async fn a_job_of_a_killed_scheduler_goes_to_another_which_shuts_it_out() {
    let lake = TestLake::new().await;
    let killed = start(&lake, Duration::from_millis(300));
    lake.land(&[row(1, "1")]).await;
    killed.wait_for_rows(1).await;
    killed.task.abort();
    assert!(killed.task.await.unwrap_err().is_cancelled());
    let next = start(&lake, Duration::from_millis(300));
    next.wait_for("standby", |next| next.of_silver("held_by").is_string())
        .await;
    lake.land(&[row(2, "1")]).await;
    next.wait_for_rows(1).await;
    next.shutdown.cancel();
    next.task.await.unwrap().unwrap();
    let (tokens, fences) = tokens(&lake).await;
    assert_eq!((tokens, fences), (vec![1, 2, 2], 1));
}

//! Leases on a real folder: one process at a time, after whatever happened to the one before.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ticklake_sql::commit::{Commit, Committer, Txn};
use ticklake_sql::{Clock, Durability, ErrorKind, Lake, LakeOptions, Lease, TableName};
use tokio::time::Instant;

use super::hold::{Hold, Standing};
use super::holder::Holder;
use super::{fence, record};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(20);

struct TestLake {
    lake: Lake,
    folder: tempfile::TempDir,
}

impl TestLake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LakeOptions {
            durability: Durability::Os,
            ..LakeOptions::default()
        };
        let lake = Lake::open(folder.path().to_str().unwrap(), options, Clock::system()).unwrap();
        Self { lake, folder }
    }

    fn hold(&self, time: Duration) -> (Holder, Hold) {
        let holder = Holder::new(&self.lake, time);
        (holder.clone(), Hold::new(holder, "job".into()))
    }

    fn holder_object(&self, holder: &Holder) -> PathBuf {
        self.folder.path().join("_ticklake/leases/holders").join(holder.id())
    }
}

#[track_caller]
fn held(standing: Standing) -> (Lease, bool) {
    match standing {
        Standing::Holds { lease, fence } => (lease, fence),
        Standing::Waits { by } => panic!("held by {by}"),
    }
}

fn waits(standing: &Standing) -> bool {
    matches!(standing, Standing::Waits { .. })
}

/// Asks again and again until the job is held.
async fn until_held(hold: &mut Hold) -> (Lease, bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match hold.stand().await.unwrap() {
            Standing::Holds { lease, fence } => return (lease, fence),
            Standing::Waits { by } => assert!(Instant::now() < deadline, "held by {by}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_of_two_holds_a_job_and_the_other_takes_it_when_it_ends() {
    let lake = TestLake::new();
    let ((_, mut one), (_, mut other)) = (lake.hold(LONG), lake.hold(LONG));
    let (lease, fence) = held(one.stand().await.unwrap());
    assert_eq!((lease.token(), fence, lease.is_held()), (1, false, true));
    assert!(waits(&other.stand().await.unwrap()));
    assert_eq!(held(one.stand().await.unwrap()).0.token(), 1, "kept between runs");
    one.end().await;
    let (lease, fence) = held(other.stand().await.unwrap());
    assert_eq!((lease.token(), fence), (2, false), "who has ended is not shut out");
    assert!(waits(&one.stand().await.unwrap()));
    assert_eq!(record::tokens(&lake.lake.object_store(), "job").await.unwrap(), [2]);
}

#[tokio::test]
async fn of_many_that_come_at_once_one_holds() {
    let lake = TestLake::new();
    let mut holds: Vec<_> = (0..8).map(|_| lake.hold(LONG)).collect();
    let standings = futures::future::join_all(holds.iter_mut().map(|(_, hold)| hold.stand())).await;
    let held = standings
        .into_iter()
        .filter(|standing| !waits(standing.as_ref().unwrap()));
    assert_eq!(held.count(), 1);
}

#[tokio::test]
async fn a_holder_that_is_not_heard_of_loses_its_job_after_its_time_and_is_shut_out() {
    let lake = TestLake::new();
    let ((_, mut killed), (_, mut next)) = (lake.hold(SHORT), lake.hold(SHORT));
    let (lease, _) = held(killed.stand().await.unwrap());
    let begun = Instant::now();
    let (taken, fence) = until_held(&mut next).await;
    assert!(begun.elapsed() >= SHORT, "taken over after {:?}", begun.elapsed());
    assert!(!lease.is_held(), "its own time is over first");
    assert_eq!((taken.token(), fence), (2, true));
    next.fenced();
    assert!(!held(next.stand().await.unwrap()).1, "once");
}

#[tokio::test]
async fn a_holder_that_says_it_lives_keeps_its_job() {
    let lake = TestLake::new();
    let time = Duration::from_millis(1500);
    let ((holder, mut one), (_, mut other)) = (lake.hold(time), lake.hold(time));
    let stop = tokio_util::sync::CancellationToken::new();
    let living = tokio::spawn(holder.clone().keep(stop.clone()));
    let (lease, _) = held(one.stand().await.unwrap());
    // Longer than another waits for one that is silent.
    let deadline = Instant::now() + 3 * time;
    while Instant::now() < deadline {
        assert!(waits(&other.stand().await.unwrap()));
        assert!(lease.is_held());
        tokio::task::yield_now().await;
    }
    stop.cancel();
    living.await.unwrap();
    assert!(!lake.holder_object(&holder).exists(), "it leaves nothing behind");
    assert!(
        held(other.stand().await.unwrap()).1,
        "it did not give the job up, and is shut out"
    );
}

#[tokio::test]
async fn a_paused_holder_that_wakes_cannot_commit_and_stands_by() {
    let lake = TestLake::new();
    let (holder, mut paused) = lake.hold(SHORT);
    let (_, mut next) = lake.hold(LONG);
    let name = TableName::silver_trades();
    let (lease, _) = held(paused.stand().await.unwrap());
    let table = lake.lake.under(lease).create_table(&name).await.unwrap();
    let mut committer = Committer::open(&table).await.unwrap();
    let commit = |version| Commit {
        operation: "WRITE".into(),
        txns: vec![Txn {
            app_id: "a".into(),
            version,
        }],
        ..Commit::default()
    };
    committer.commit(commit(1)).await.unwrap();

    let (taken, must_fence) = until_held(&mut next).await;
    assert!(must_fence);
    let tables = [lake.lake.under(taken).table(&name).await.unwrap()];
    fence(&tables).await.unwrap();

    // It wakes, says that it lives, and goes on where it was.
    holder.renew().await.unwrap();
    let refused = committer.commit(commit(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Lease, "{refused}");
    // A clock of its own that stood still as well changes nothing: the log refuses it.
    let stubborn = Lease::new("job", 1, || true);
    let table = lake.lake.under(stubborn).table(&name).await.unwrap();
    let refused = Committer::open(&table)
        .await
        .unwrap()
        .commit(commit(2))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Lease, "{refused}");
    assert!(waits(&paused.stand().await.unwrap()));
    assert_eq!(
        lake.lake.table(&name).await.unwrap().positions().await.unwrap().1["a"],
        1
    );
}

#[tokio::test]
async fn a_pause_that_nobody_used_costs_nothing() {
    let lake = TestLake::new();
    let (holder, mut hold) = lake.hold(SHORT);
    let (lease, _) = held(hold.stand().await.unwrap());
    let deadline = Instant::now() + DEADLINE;
    while lease.is_held() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    holder.renew().await.unwrap();
    assert!(!lease.is_held(), "what was held before is looked at again");
    let (lease, fence) = held(hold.stand().await.unwrap());
    assert_eq!((lease.token(), fence), (1, false));
}

#[tokio::test]
async fn a_store_whose_clock_was_set_back_holds_nothing_up() {
    let lake = TestLake::new();
    let (holder, mut killed) = lake.hold(SHORT);
    let (_, mut next) = lake.hold(LONG);
    held(killed.stand().await.unwrap());
    let object = std::fs::File::open(lake.holder_object(&holder)).unwrap();
    object.set_modified(in_a_day()).unwrap();
    assert!(until_held(&mut next).await.1);
}

#[allow(clippy::disallowed_methods)]
fn in_a_day() -> SystemTime {
    SystemTime::now() + Duration::from_secs(86_400)
}

#[tokio::test]
async fn a_lake_brought_back_from_a_backup_has_its_tokens_in_the_tables_alone() {
    let lake = TestLake::new();
    let (_, mut hold) = lake.hold(LONG);
    let (lease, _) = held(hold.stand().await.unwrap());
    assert_eq!(lease.token(), 1);
    // A table says 7.
    hold.lost(Some(7));
    let (lease, fence) = held(hold.stand().await.unwrap());
    assert_eq!((lease.token(), fence), (8, false));
}

//! Faults by a seed under every job. A test that fails prints its seed; `TICKLAKE_SEED` runs it again, `TICKLAKE_FAULT_ROUNDS` runs more of them.

use ticklake_engine::backup;
use ticklake_sql::ErrorKind;
use ticklake_sql::error::chain;

use crate::jobs::{ALL, Job};
use crate::store::FaultyStore;
use crate::world::{World, contents, refresh};

/// Of a thousand requests.
const FAULTS: u64 = 30;
/// Tries of a job on the faulty store before the store recovers.
const TRIES: usize = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = setting("TICKLAKE_SEED", rand::random::<u64>() >> 16);
    (0..setting("TICKLAKE_FAULT_ROUNDS", 3)).map(move |round| first.wrapping_add(round))
}

/// Runs `job` until it ends well: on the faulty store a few times, at last on one that has recovered. What fails must be told as what may pass.
async fn make_good(job: Job, world: &World, seed: u64, faults: u64) -> (u64, usize) {
    let store = FaultyStore::new(world.store.clone(), seed, faults);
    let lake = world.over(store.clone());
    for attempt in 0..=TRIES {
        if attempt == TRIES {
            store.recover();
        }
        match job.run(world, &lake).await {
            Ok(()) => return (store.struck(), attempt),
            Err(error) => assert!(
                error.kind() == ErrorKind::Retry && attempt < TRIES,
                "{job:?}, seed {seed}, try {attempt}: {:?}: {}",
                error.kind(),
                chain(&error)
            ),
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_store_under_any_job_change_nothing_but_time() {
    let prepared = World::new().await;
    let (mut struck, mut failed) = (0, 0);
    for job in ALL {
        let whole = prepared.copy().await;
        job.prepare(&whole).await;
        let start = whole.copy().await;
        job.run(&whole, &whole.lake()).await.unwrap();
        refresh(&whole.lake()).await;
        let (expected, proof) = whole.contents().await;
        assert!(proof.is_clean(), "{job:?} without faults: {proof:#?}");
        for seed in seeds() {
            println!("{job:?}: TICKLAKE_SEED={seed}");
            let world = start.copy().await;
            let (faults, failures) = make_good(job, &world, seed, FAULTS).await;
            struck += faults;
            failed += failures;
            refresh(&world.lake()).await;
            let (held, proof) = world.contents().await;
            assert_eq!(held, expected, "{job:?}, seed {seed}");
            assert!(proof.is_clean(), "{job:?}, seed {seed}: {proof:#?}");
        }
    }
    println!("{struck} faults, {failed} failed runs");
    assert!(struck > 20 && failed > 0, "{struck} faults, {failed} failed runs");
}

/// Of all jobs the one with the most steps, each a commit of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_under_many_faults_takes_each_trade_out_of_quarantine_once() {
    const MANY: u64 = 100;
    let prepared = World::new().await;
    let whole = prepared.copy().await;
    Job::Release.run(&whole, &whole.lake()).await.unwrap();
    refresh(&whole.lake()).await;
    let (expected, _) = whole.contents().await;
    let mut failed = 0;
    for seed in seeds() {
        println!("release: TICKLAKE_SEED={seed}");
        let world = prepared.copy().await;
        failed += make_good(Job::Release, &world, seed, MANY).await.1;
        refresh(&world.lake()).await;
        let (held, proof) = world.contents().await;
        assert_eq!(held, expected, "seed {seed}");
        assert!(proof.is_clean(), "seed {seed}: {proof:#?}");
    }
    assert!(failed > 0, "no run of it failed");
}

/// A backup reads from one lake and writes to another; either may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_under_a_backup_leave_no_table_that_is_not_whole() {
    let world = World::new().await;
    refresh(&world.lake()).await;
    let (expected, _) = world.contents().await;
    for seed in seeds() {
        println!("backup: TICKLAKE_SEED={seed}");
        let copy = World {
            store: std::sync::Arc::default(),
            ahead_s: world.ahead_s.clone(),
            files: world.files.clone(),
        };
        let (from, to) = (
            FaultyStore::new(world.store.clone(), seed, FAULTS),
            FaultyStore::new(copy.store.clone(), seed + 1, FAULTS),
        );
        for attempt in 0..=TRIES {
            if attempt == TRIES {
                from.recover();
                to.recover();
            }
            let copied = backup::copy(&world.over(from.clone()), &copy.over(to.clone()), &[]).await;
            // What has become a table so far is whole.
            for table in copy.lake().tables().await.unwrap() {
                let store = table.log_store().object_store(None);
                for add in table.files(None).await.unwrap().1 {
                    let path = object_store::path::Path::parse(&add.path).unwrap();
                    let size = object_store::ObjectStoreExt::head(&store, &path).await.unwrap().size;
                    assert_eq!(size as i64, add.size, "seed {seed}");
                }
            }
            match copied {
                Ok(_) => break,
                Err(error) => assert!(
                    error.kind() == ErrorKind::Retry && attempt < TRIES,
                    "seed {seed}, try {attempt}: {}",
                    chain(&error)
                ),
            }
        }
        let (held, proof) = contents(&copy.lake()).await;
        assert_eq!(held, expected, "seed {seed}");
        assert!(proof.is_clean(), "seed {seed}: {proof:#?}");
    }
}

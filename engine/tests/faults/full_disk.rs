//! A store without room: every job that writes says so, leaves its tables as they were, and goes on when there is room again.

use futures::{StreamExt, stream};
use ticklake_sql::ErrorKind;

use crate::jobs::{ALL, Job};
use crate::store::FaultyStore;
use crate::world::{World, refresh};

/// Bytes of room: none at all, the least entry of a log, some files.
const ROOMS: [i64; 3] = [0, 1_500, 20_000];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_stops_every_job_that_writes_and_room_lets_it_go_on() {
    let prepared = World::new().await;
    let writing = ALL.into_iter().filter(|job| *job != Job::Verify);
    // What meets a full store waits and tries again: side by side, so that they wait together.
    stream::iter(writing)
        .map(|job| fill(&prepared, job))
        .buffer_unordered(ALL.len())
        .collect::<()>()
        .await;
}

async fn fill(prepared: &World, job: Job) {
    let whole = prepared.copy().await;
    job.prepare(&whole).await;
    let start = whole.copy().await;
    job.run(&whole, &whole.lake()).await.unwrap();
    refresh(&whole.lake()).await;
    let (expected, _) = whole.contents().await;
    for room in ROOMS {
        let world = start.copy().await;
        let store = FaultyStore::with_room(world.store.clone(), room);
        let lake = world.over(store.clone());
        let stopped = job.run(&world, &lake).await;
        // Vacuum has deleted by then, and leaves its position for the next run.
        if store.struck() > 0 && job != Job::Vacuum {
            let error = stopped.expect_err("it cannot have written what it had no room for");
            assert_eq!(error.kind(), ErrorKind::Retry, "{job:?}, {room} bytes: {error:?}");
        } else {
            stopped.unwrap();
        }
        // Where every bar is right there is nothing to rebuild.
        assert!(
            room > 0 || store.struck() > 0 || job == Job::RebuildGold,
            "{job:?} writes nothing"
        );
        let (_, proof) = world.contents().await;
        let whole_when_run_again = job == Job::Release;
        assert!(
            proof.is_clean() || whole_when_run_again,
            "{job:?}, {room} bytes: {proof:#?}"
        );
        store.recover();
        job.run(&world, &lake).await.unwrap();
        refresh(&world.lake()).await;
        let (held, proof) = world.contents().await;
        assert_eq!(held, expected, "{job:?}, {room} bytes");
        assert!(proof.is_clean(), "{job:?}, {room} bytes: {proof:#?}");
    }
}

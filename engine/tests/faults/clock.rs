//! A clock that goes backwards between and under the jobs. No rule reads it, so no row depends on it.

use std::sync::atomic::Ordering;

use crate::jobs::ALL;
use crate::world::{World, refresh};

/// Seconds by which the clock is off, one after the other: an hour, two days, a second, a week, back to right.
const JUMPS: [i64; 5] = [-3_600, -172_800, -172_801, -604_800, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_backwards_changes_no_row() {
    let prepared = World::new().await;
    for job in ALL {
        let whole = prepared.copy().await;
        job.prepare(&whole).await;
        let world = whole.copy().await;
        job.run(&whole, &whole.lake()).await.unwrap();
        refresh(&whole.lake()).await;
        let (expected, _) = whole.contents().await;

        // One lake all along: its writers have seen the later times.
        let (lake, start_s) = (world.lake(), world.ahead_s.load(Ordering::SeqCst));
        for jump in JUMPS {
            world.ahead_s.store(start_s + jump, Ordering::SeqCst);
            let ran = job.run(&world, &lake).await;
            ran.unwrap_or_else(|error| panic!("{job:?} {jump} s off: {error:?}"));
            refresh(&lake).await;
            let (_, proof) = world.contents().await;
            assert!(proof.is_clean(), "{job:?} {jump} s off: {proof:#?}");
        }
        let (held, _) = world.contents().await;
        assert_eq!(held, expected, "{job:?}");
    }
}

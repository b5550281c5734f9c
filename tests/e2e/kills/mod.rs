//! kill -9 at random moments of every job: the lake is clean right behind the kill where the job promises it, and always once the job has been run again;
//! then it holds what an undisturbed job leaves. `TICKLAKE_KILLS` sets how many kills a job (2), `TICKLAKE_SEED` repeats a run. A random moment is one of
//! many: with feature `services` each job is also killed behind every change that it makes to the store, one after the other.
//!
//! Reading order: `start` makes a lake in which every job finds work, `job` says what each is, `held` what a lake holds in the end, `kill` kills.

#![allow(clippy::print_stdout)]

mod held;
mod job;
mod kill;
mod start;

use std::process::Command;
use std::sync::Mutex;

use held::{Held, is_whole};
use job::Job;
#[cfg(feature = "services")]
use kill::kill_behind;
use kill::{Dice, Usual, kill_somewhere};
use start::{Replica, Start};

use crate::process::Running;

/// Jobs killed at the same time, each on lakes of its own.
const AT_ONCE: usize = 3;

fn kills() -> u64 {
    std::env::var("TICKLAKE_KILLS").map_or(2, |kills| kills.parse().expect("TICKLAKE_KILLS is a number"))
}

#[test]
fn every_job_killed_at_random_moments_is_made_good_by_its_next_run() {
    let start = Start::on_disk();
    kill_all(&start, job::ALL.iter(), kills());
}

/// The same on an S3 server, where a write lands whole or not at all and nothing is renamed.
#[cfg(feature = "services")]
#[test]
fn every_job_killed_on_s3_is_made_good_by_its_next_run() {
    let start = Start::on_s3();
    // What a store has written carries the store's time, so nothing can be made old enough to be deleted; and an earlier copy is not copied along.
    let jobs = job::ALL
        .iter()
        .filter(|job| !["vacuum", "backup again"].contains(&job.name));
    kill_all(&start, jobs, kills().div_ceil(2));
}

/// No file may grow beyond `kib`: what a full disk does, without a disk to fill.
fn cramped(command: &Command, kib: u32) -> Command {
    let mut cramped = Command::new("bash");
    cramped
        .args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &kib.to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        cramped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => cramped.env(name, value),
            None => cramped.env_remove(name),
        };
    }
    cramped
}

#[test]
fn a_job_without_room_on_disk_says_so_and_its_next_run_makes_good() {
    let start = Start::on_disk();
    let mut stopped = 0;
    for job in job::ALL {
        let prepared = start.copy();
        job.prepare(&prepared);
        let whole = prepared.copy();
        Usual::of(&whole, job);
        let expected = Held::of(&whole, job);
        // No room for anything, and room for entries of a log but for no data file.
        for kib in [0, 4] {
            let lake = prepared.copy();
            let output = Running::start(&mut cramped(&job.command(&lake), kib)).output();
            let said = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            assert!(
                code == Some(1) || job.ended_well(&output.status),
                "{} in {kib} KiB: {} {said}",
                job.name,
                output.status
            );
            if code == Some(1) {
                stopped += 1;
                assert!(said.contains("File too large"), "{} in {kib} KiB: {said}", job.name);
                assert!(!said.contains("panicked"), "{} in {kib} KiB: {said}", job.name);
            }
            assert!(
                !job.clean_at_once || job.is_clean(&lake, &lake.place),
                "{} in {kib} KiB",
                job.name
            );
            let again = Running::start(&mut job.command(&lake)).output();
            assert!(job.ended_well(&again.status), "{} again", job.name);
            assert!(job.is_clean(&lake, &job.result(&lake)), "{} again", job.name);
            assert_eq!(Held::of(&lake, job), expected, "{} in {kib} KiB", job.name);
        }
    }
    assert!(stopped > job::ALL.len(), "{stopped} runs were stopped");
}

/// A job that makes more changes than this is killed behind each of the first ones, and then behind every `STRIDE`th.
#[cfg(feature = "services")]
const EACH: usize = 16;
#[cfg(feature = "services")]
const STRIDE: usize = 5;

#[cfg(feature = "services")]
#[test]
fn every_job_killed_behind_each_of_its_changes_is_made_good_by_its_next_run() {
    let start = Start::on_disk();
    side_by_side(job::ALL.iter(), |job| {
        let killed = Killed::prepare(&start, job);
        let (mut change, mut kills) = (1, 0);
        loop {
            let lake = killed.prepared.copy();
            if !kill_behind(&lake, job, change) {
                break;
            }
            killed.is_made_good(&lake, &format!("{} behind change {change}", job.name));
            kills += 1;
            change += if change < EACH { 1 } else { STRIDE };
        }
        format!("{}: {kills} kills, of {change} changes at most", job.name)
    });
}

fn kill_all<'a>(start: &Start, jobs: impl Iterator<Item = &'a Job>, kills: u64) {
    let seed = std::env::var("TICKLAKE_SEED").map_or_else(
        |_| uuid::Uuid::new_v4().as_u64_pair().0 >> 16,
        |seed| seed.parse().expect("TICKLAKE_SEED is a number"),
    );
    println!("TICKLAKE_SEED={seed}");
    side_by_side(jobs, |job| kill_one(start, job, kills, Dice::new(seed, job.name)));
}

/// Some jobs at a time, and what came of each for whoever reads the output.
fn side_by_side<'a>(jobs: impl Iterator<Item = &'a Job>, kill: impl Fn(&Job) -> String + Sync) {
    let waiting = Mutex::new(jobs.collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(job) = waiting.lock().unwrap().pop() else {
                        return;
                    };
                    println!("{}", kill(job));
                }
            });
        }
    });
}

/// A job, the lake that it is killed on, and what an undisturbed run leaves of that.
struct Killed<'a> {
    job: &'a Job,
    prepared: Replica,
    usual: Usual,
    expected: Held,
}

impl<'a> Killed<'a> {
    fn prepare(start: &Start, job: &'a Job) -> Self {
        let prepared = start.copy();
        job.prepare(&prepared);
        let whole = prepared.copy();
        let usual = Usual::of(&whole, job);
        assert!(job.is_clean(&whole, &job.result(&whole)), "{} undisturbed", job.name);
        Self {
            expected: Held::of(&whole, job),
            job,
            prepared,
            usual,
        }
    }

    /// Whole right behind the kill, and what it should be once the job has been run again.
    fn is_made_good(&self, lake: &Replica, at: &str) {
        let job = self.job;
        assert!(
            !job.clean_at_once || job.is_clean(lake, &lake.place),
            "right behind the kill: {at}"
        );
        assert!(is_whole(&job.result(lake)), "right behind the kill: {at}");
        let again = Running::start(&mut job.command(lake)).output();
        assert!(
            job.ended_well(&again.status),
            "{at}: {} {}",
            again.status,
            String::from_utf8_lossy(&again.stderr)
        );
        assert!(job.is_clean(lake, &job.result(lake)), "after the job ran again: {at}");
        assert_eq!(Held::of(lake, job), self.expected, "{at}");
    }
}

/// Kills one job so many times, each time from the same start. Returns what came of it.
fn kill_one(start: &Start, job: &Job, kills: u64, mut dice: Dice) -> String {
    let killed = Killed::prepare(start, job);
    let mut inside = 0;
    for kill in 0..kills {
        let lake = killed.prepared.copy();
        let ended = kill_somewhere(&lake, job, &killed.usual, &mut dice, kill);
        inside += u64::from(!ended);
        killed.is_made_good(&lake, &format!("{}, kill {kill}, seed {}", job.name, dice.seed));
    }
    format!(
        "{}: {kills} kills, {inside} of them before its end, which takes {} ms",
        job.name,
        killed.usual.time.as_millis()
    )
}

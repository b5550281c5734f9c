//! The kill itself: at a random time of the job's usual run, right behind a random one of the files that it writes, or behind the one that is named.

use std::path::Path;
use std::time::{Duration, Instant};

use super::job::Job;
use super::start::Replica;
use crate::process::Running;

/// A run without a kill.
pub struct Usual {
    pub time: Duration,
    /// Files that come to the lake or go from it; at least one.
    changes: usize,
}

/// Numbers that the seed and the job's name decide.
pub struct Dice {
    pub seed: u64,
    state: u64,
}

impl Dice {
    pub fn new(seed: u64, name: &str) -> Self {
        let state = name.bytes().fold(seed | 1, |state, byte| {
            state.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Self { seed, state }
    }

    /// From 0 to below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound.max(1)
    }
}

impl Usual {
    pub fn of(lake: &Replica, job: &Job) -> Self {
        let before = files(lake.folder());
        let started = Instant::now();
        let output = Running::start(&mut job.command(lake)).output();
        let time = started.elapsed();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            job.ended_well(&output.status),
            "{}: {} {stderr}",
            job.name,
            output.status
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.contains(job.says), "{} did nothing: {stdout}", job.name);
        Self {
            time,
            changes: files(lake.folder()).abs_diff(before).max(1),
        }
    }
}

/// True where the job had ended before it could be killed.
pub fn kill_somewhere(lake: &Replica, job: &Job, usual: &Usual, dice: &mut Dice, kill: u64) -> bool {
    let in_time = Duration::from_micros(dice.below(usual.time.as_micros() as u64));
    // On a store without a folder only the time is known.
    let behind = (kill % 2 == 1 && lake.is_local()).then(|| 1 + dice.below(usual.changes as u64) as usize);
    let before = files(lake.folder());
    let mut running = Running::start(&mut job.command(lake));
    let deadline = Instant::now() + behind.map_or(in_time, |_| usual.time * 4);
    let is_there = || behind.is_some_and(|changes| files(lake.folder()).abs_diff(before) >= changes);
    while Instant::now() < deadline && running.is_running() && !is_there() {
        std::thread::sleep(Duration::from_micros(300));
    }
    let ended = !running.is_running();
    running.kill();
    ended
}

/// Ends the job by itself, as a power cut would, right behind the `change`th object that it writes or deletes. False: it made fewer, and ended well.
#[cfg(feature = "services")]
pub fn kill_behind(lake: &Replica, job: &Job, change: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;

    let mut command = job.command(lake);
    command.env("TICKLAKE_FAILPOINT", "store-changed");
    command.env("TICKLAKE_FAILPOINT_AT", change.to_string());
    let output = Running::start(&mut command).output();
    let is_killed = output.status.signal().is_some();
    assert!(
        is_killed || job.ended_well(&output.status),
        "{} at change {change}: {} {}",
        job.name,
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    is_killed
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => files(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.map(count).sum()
}

//! What every bench does the same way: settings from the environment, a lake in a folder, order statistics, readings of /proc, one JSON line a figure.
#![allow(dead_code)] // each bench uses a part

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use ticklake_sql::{Clock, Durability, Lake, LakeOptions};

/// The environment's value of `name`, or the usual one. A value that does not parse ends the bench: nobody should read figures of other settings.
pub fn setting<T: FromStr>(name: &str, usual: T) -> T {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, which does not parse")),
        Err(_) => usual,
    }
}

/// Where benches keep what they made: TICKLAKE_BENCH_DIR, or a folder in the target folder.
pub fn folder() -> PathBuf {
    setting("TICKLAKE_BENCH_DIR", PathBuf::from(env!("CARGO_TARGET_TMPDIR")))
}

pub fn lake(folder: &Path, durability: Durability) -> Lake {
    let options = LakeOptions {
        durability,
        ..LakeOptions::default()
    };
    Lake::open(folder.to_str().unwrap(), options, Clock::system()).unwrap()
}

/// The same files under another folder: a lake of its own that may grow and change.
pub fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link(&entry.path(), &target)
        } else {
            std::fs::hard_link(entry.path(), target).unwrap()
        }
    }
}

/// What this bench prints when it runs in a process of its own under these variables: peak memory is then that of one run.
pub fn in_a_process<V: AsRef<std::ffi::OsStr>>(
    variables: impl IntoIterator<Item = (&'static str, V)>,
) -> serde_json::Value {
    let mut process = std::process::Command::new(std::env::current_exe().unwrap());
    let output = process.envs(variables).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

pub fn print(figure: serde_json::Value) {
    println!("{figure}");
}

/// The value below which `share` of them lie. Sorts.
pub fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(values[(last as f64 * share).round() as usize])
}

/// Three decimals: a microsecond of a millisecond, a kilobyte of a megabyte.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

pub fn rss_mb(pid: u32) -> Option<f64> {
    status_mb(pid, "VmRSS:")
}

/// The highest since the process began, or since [`reset_peak`].
pub fn peak_rss_mb(pid: u32) -> Option<f64> {
    status_mb(pid, "VmHWM:")
}

/// Lets this process's peak begin anew. `man 5 proc`, clear_refs.
pub fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn status_mb(pid: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kib / 102.4).round() / 10.0)
}

/// User and system time of a process, seconds.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // Ticks of 10 ms on every Linux that we know.
    Some((fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?) / 100.0)
}

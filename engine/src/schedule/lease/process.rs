//! A process as others on the same machine can look it up: whether it is gone for good is known there at once, after a kill too.

use std::fs;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub host: String,
    pub pid: u32,
    /// The boot of the machine and the namespace that `pid` counts in; None where the system does not tell.
    machine: Option<String>,
    /// Start of the process, in ticks since the boot: numbers are used again.
    started: Option<u64>,
}

impl Process {
    pub fn current() -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            pid,
            machine: machine(),
            started: stat(pid).map(|(_, started)| started),
        }
    }

    /// It ran on this machine and does not any more. False where that cannot be told from here.
    pub fn is_gone(&self) -> bool {
        let here = self.machine.is_some() && self.machine == machine();
        let Some(started) = self.started.filter(|_| here) else {
            return false;
        };
        match stat(self.pid) {
            // Killed, and its parent has not asked how it went: nothing of it runs any more.
            Some((b'Z' | b'X', _)) => true,
            Some((_, found)) => found != started,
            None => true,
        }
    }

    /// `host, process 123`, for people.
    pub fn name(&self) -> String {
        format!("{}, process {}", self.host, self.pid)
    }
}

fn host() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => "host".to_owned(),
        host => host.to_owned(),
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// State and start of a process, by `/proc/<pid>/stat` (proc_pid_stat(5)): fields 3 and 22, counted behind the name in brackets.
fn stat(pid: u32) -> Option<(u8, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_its_number_is_free_or_belongs_to_another() {
        let current = Process::current();
        assert!(!current.is_gone());
        let earlier = Process {
            started: current.started.map(|started| started - 1),
            ..current.clone()
        };
        assert!(earlier.is_gone(), "another process has its number");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Process {
            pid: child.id(),
            started: stat(child.id()).map(|(_, started)| started),
            ..current.clone()
        };
        assert!(!other.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone());
        let elsewhere = Process {
            machine: Some("another boot".into()),
            ..other
        };
        assert!(!elsewhere.is_gone(), "nothing is known of other machines");
    }
}

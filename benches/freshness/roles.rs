//! The binary as the processes that a user would start, each with default settings, its log in a file beside the lake.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::figures::{cpu_seconds, peak_rss_mb};

const START: Duration = Duration::from_secs(120);
const DRAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `up` against Apache Kafka: one process, jobs and snapshots wake on commit.
    Up,
    /// `produce`, `ingest`, `run` and `serve`: each looks for the others' commits.
    Apart,
    /// `up` as a newcomer types it: with its embedded broker.
    Embedded,
}

impl Mode {
    pub fn parse(name: &str) -> Self {
        let all = [Self::Up, Self::Apart, Self::Embedded];
        let found = all.into_iter().find(|mode| mode.name() == name);
        found.unwrap_or_else(|| panic!("TICKLAKE_BENCH_MODES names {name:?}; there are up, apart and embedded"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Apart => "apart",
            Self::Embedded => "embedded",
        }
    }
}

/// Killed when dropped.
pub struct Roles {
    folder: PathBuf,
    running: Vec<(String, Child)>,
}

impl Roles {
    pub fn start(mode: Mode, folder: &Path, brokers: &str, topic: &str, rate: u32) -> Self {
        let lake = folder.join("lake");
        let lake = ["--lake", lake.to_str().unwrap()];
        let kafka = ["--bootstrap-servers", brokers, "--topic", topic];
        let rate = rate.to_string();
        let feed = ["--feed", "sim", "--rate", &rate];
        let flight = ["--flight-addr", "127.0.0.1:0"];
        let up = [&["up", "--data-dir", "data"][..], &lake, &feed, &flight].concat();
        let commands = match mode {
            Mode::Up => vec![[&up[..], &kafka].concat()],
            Mode::Embedded => vec![[&up[..], &["--kafka-addr", "127.0.0.1:0"]].concat()],
            Mode::Apart => vec![
                [&["serve"][..], &lake, &flight].concat(),
                [&["run"][..], &lake].concat(),
                [&["ingest"][..], &lake, &kafka].concat(),
                [&["produce"][..], &lake, &kafka, &feed].concat(),
            ],
        };
        let start = |command: &Vec<&str>| (command[0].to_owned(), spawn(folder, command));
        Self {
            folder: folder.to_owned(),
            running: commands.iter().map(start).collect(),
        }
    }

    /// Where the Flight SQL server listens, once it does.
    pub async fn server(&mut self) -> String {
        let began = Instant::now();
        loop {
            let ports = std::fs::read_to_string(self.folder.join("data/ports.json")).unwrap_or_default();
            let ports: Option<serde_json::Value> = serde_json::from_str(&ports).ok();
            if let Some(flight) = ports.and_then(|ports| ports["flight"].as_str().map(str::to_owned)) {
                return flight;
            }
            let said = std::fs::read_to_string(self.folder.join("serve.out")).unwrap_or_default();
            if let Some(flight) = said.lines().find_map(|line| line.strip_prefix("flight sql on ")) {
                return flight.to_owned();
            }
            self.assert_running();
            assert!(began.elapsed() < START, "no server within {START:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn assert_running(&mut self) {
        for (name, child) in &mut self.running {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{name}: {ended:?}\n{}", said(&self.folder, name));
        }
    }

    pub fn cpu_seconds(&self) -> f64 {
        self.running
            .iter()
            .filter_map(|(_, child)| cpu_seconds(child.id()))
            .sum()
    }

    pub fn peaks_mb(&self) -> serde_json::Value {
        let peaks = self
            .running
            .iter()
            .map(|(name, child)| (name.clone(), peak_rss_mb(child.id()).into()));
        serde_json::Value::Object(peaks.collect())
    }

    /// Drains them, feed first.
    pub fn stop(mut self) {
        while let Some((name, mut child)) = self.running.pop() {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            let began = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                assert!(began.elapsed() < DRAIN, "{name} does not drain");
                std::thread::sleep(Duration::from_millis(20));
            };
            assert!(status.success(), "{name}: {status}\n{}", said(&self.folder, &name));
        }
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Runs one command; it must end well.
pub fn run_to_end(folder: &Path, arguments: &[&str]) {
    let status = spawn(folder, arguments).wait().unwrap();
    let name = arguments[0];
    assert!(status.success(), "{name}: {status}\n{}", said(folder, name));
}

/// The binary in `folder`, untouched by this machine's settings.
fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let file = |kind: &str| File::create(folder.join(format!("{}.{kind}", arguments[0]))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ticklake"));
    for (name, _) in std::env::vars() {
        if name.starts_with("TICKLAKE_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let command = command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(file("out")).stderr(file("err")).spawn().unwrap()
}

/// The end of what it said on stderr.
fn said(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(folder.join(format!("{name}.err"))).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

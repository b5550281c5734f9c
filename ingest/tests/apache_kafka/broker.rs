//! A broker of a test's own, which it may kill and start again.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Broker(tempfile::TempDir);

impl Broker {
    /// The broker, not started yet.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Starts, or goes on from its log on the same port; returns its address.
    pub fn start(&self) -> String {
        self.script("start")
    }

    /// kill -9.
    pub fn kill(&self) {
        self.script("kill");
    }

    fn script(&self, command: &str) -> String {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/services/kafka.sh");
        let output = Command::new("bash")
            .arg(script)
            .arg(command)
            .arg(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

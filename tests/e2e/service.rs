//! A Kafka broker or an S3 server of a test's own, which it may stop and start again (tests/services).

use std::path::Path;
use std::process::Command;

pub struct Service {
    script: &'static str,
    stop: &'static str,
    folder: tempfile::TempDir,
}

impl Service {
    /// Stopped by kill -9.
    pub fn kafka() -> Self {
        Self::of("kafka.sh", "kill")
    }

    /// Bucket `ticklake`.
    pub fn s3() -> Self {
        Self::of("s3.sh", "stop")
    }

    fn of(script: &'static str, stop: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { script, stop, folder }
    }

    /// Starts, or goes on from its folder on the same port; returns its address.
    pub fn start(&self) -> String {
        self.run("start")
    }

    pub fn stop(&self) {
        self.run(self.stop);
    }

    fn run(&self, command: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/services")
            .join(self.script);
        let output = Command::new("bash")
            .arg(script)
            .arg(command)
            .arg(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

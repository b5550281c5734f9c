//! The broker goes away under a running ingest and comes back.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Running, assert_trades_once, lake, options, send_trades};

/// A broker of this test's own, which it may kill.
struct Broker(tempfile::TempDir);

impl Broker {
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
        self.script("kill");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_costs_nothing() {
    let broker = Broker(tempfile::tempdir().unwrap());
    let brokers = broker.script("start");
    let topic = "trades";
    crate::topics::create_at(&brokers, topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let running = Running::start(&options(&brokers, topic), &lake);
    send_trades(&brokers, topic, 3, 0..1000);
    running.until_recorded(1000).await;
    broker.script("kill");
    running
        .until("the broker's absence shows", |status| !status["last_error"].is_null())
        .await;
    broker.script("start");
    send_trades(&brokers, topic, 3, 1000..2000);
    running.until_recorded(2000).await;
    running.stop().await;
    assert_trades_once(&lake, 0..2000).await;
}

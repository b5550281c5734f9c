//! Several instances in one group: they join, leave, die and come back while records flow.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ticklake_ingest::bronze::BronzeOptions;

use crate::support::{Running, assert_trades_once, lake, options, run_to_end, send_trades, unique, until};
use crate::topics::{brokers, create};

/// `bronze-ingest` as a process.
pub struct Process(pub Child);

impl Process {
    pub fn start(topic: &str, lake: &Path, instance: &str, failpoint: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bronze-ingest"));
        command
            .arg(brokers())
            .arg(topic)
            .arg(lake)
            .arg(instance)
            .env("TICKLAKE_FAILPOINT", failpoint);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub async fn terminate(mut self) {
        assert!(
            Command::new("kill")
                .arg(self.0.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        let mut code = None;
        let deadline = std::time::Instant::now() + crate::support::DEADLINE;
        while code.is_none() {
            assert!(
                std::time::Instant::now() < deadline,
                "the process does not end after SIGTERM"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            code = self.0.try_wait().unwrap();
        }
        assert!(code.unwrap().success(), "{code:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn instance(topic: &str, name: &str) -> BronzeOptions {
    let mut options = BronzeOptions {
        instance_id: Some(name.to_owned()),
        ..options(&brokers(), topic)
    };
    options
        .kafka
        .librdkafka
        .insert("session.timeout.ms".to_owned(), "6000".to_owned());
    options
}

fn owned(running: &Running) -> usize {
    let status = running.status.snapshot();
    status["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|partition| partition["state"] == "reading")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_the_partitions_and_hand_them_over() {
    let topic = &unique("group");
    create(topic, 6, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let sending = {
        let topic = topic.clone();
        std::thread::spawn(move || {
            for step in 0..60u64 {
                send_trades(&brokers(), &topic, 6, step * 1000..(step + 1) * 1000);
                std::thread::sleep(Duration::from_millis(100));
            }
        })
    };
    let one = Running::start(&instance(topic, "one"), &lake(folder.path()));
    until("one has all", || owned(&one) == 6).await;
    let two = Running::start(&instance(topic, "two"), &lake(folder.path()));
    until("two has half", || owned(&two) == 3 && owned(&one) == 3).await;
    assert!(!one.is_finished(), "a rebalance ends nobody");
    // A static member that leaves keeps its place until its session is over: then the other takes all.
    two.stop().await;
    until("one has all again", || owned(&one) == 6).await;
    let three = Running::start(&instance(topic, "three"), &lake(folder.path()));
    until("three has half", || owned(&three) == 3).await;
    sending.join().unwrap();
    one.stop().await;
    three.stop().await;
    let lake = lake(folder.path());
    run_to_end(&options(&brokers(), topic), &lake).await.unwrap();
    assert_trades_once(&lake, 0..60_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_under_a_group_are_shared_and_read_from_their_first_record() {
    let topic = &unique("group-growing");
    create(topic, 2, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let watchful = |name: &str| {
        let mut options = instance(topic, name);
        options
            .kafka
            .librdkafka
            .insert("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned());
        options
    };
    let one = Running::start(&watchful("one"), &lake(folder.path()));
    let two = Running::start(&watchful("two"), &lake(folder.path()));
    until("each has one", || owned(&one) == 1 && owned(&two) == 1).await;
    send_trades(&brokers(), topic, 2, 0..1000);
    crate::topics::add_partitions(topic, 6).await;
    // The new partitions hold records before anybody has them.
    send_trades(&brokers(), topic, 6, 1000..7000);
    until("each has three", || owned(&one) == 3 && owned(&two) == 3).await;
    let records = |running: &Running| running.status.snapshot()["records"].as_u64().unwrap();
    until("all is committed", || records(&one) + records(&two) >= 7000).await;
    one.stop().await;
    two.stop().await;
    assert_trades_once(&lake(folder.path()), 0..7000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_within_the_session_resumes_at_once() {
    let topic = &unique("restart");
    create(topic, 4, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let first = Running::start(&instance(topic, "one"), &lake);
    until("it has all", || owned(&first) == 4).await;
    first.stop().await;
    let again = std::time::Instant::now();
    let second = Running::start(&instance(topic, "one"), &lake);
    until("it has all again", || owned(&second) == 4).await;
    let took = again.elapsed();
    send_trades(&brokers(), topic, 4, 0..100);
    second.until_recorded(100).await;
    second.stop().await;
    assert!(
        took < Duration::from_secs(5),
        "a static member waited {took:?} for its own partitions"
    );
    assert_trades_once(&lake, 0..100).await;
}

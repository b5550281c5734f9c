//! A broker that goes away under running roles: seen in `status`, made good by itself.

use std::process::Command;

use serde_json::Value;

use crate::lake::{LakeFolder, assert_bars_equal_the_fold};
use crate::process::{DEADLINE, Running, eventually, stdout, ticklake};
use crate::service::Service;

/// What `status` says of one role's one stage of the same name.
fn stage(report: &Value, role: &str) -> Option<Value> {
    let roles = report["roles"].as_array()?;
    let found = roles.iter().find(|found| found["role"] == role)?;
    Some(found["stages"][role].clone())
}

/// `None` while the lake cannot be read.
fn report(mut status: Command) -> Option<Value> {
    let output = Running::start(status.args(["status", "--format", "json"])).output();
    output
        .status
        .success()
        .then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_broker_that_is_away_shows_in_status_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kafka = Service::kafka();
    let brokers = kafka.start();
    let role = || {
        let mut command = ticklake(folder);
        command
            .env("TICKLAKE_LAKE__URI", folder.join("lake"))
            .env("TICKLAKE_KAFKA__BOOTSTRAP_SERVERS", &brokers);
        command
    };
    let produce = Running::start(role().args(["produce", "--feed", "sim", "--rate", "500"]));
    let ingest = Running::start(role().arg("ingest"));
    let committed = |above: u64| {
        eventually("records are committed", DEADLINE, || {
            let records = stage(&report(role())?, "ingest")?["records"].as_u64()?;
            (records > above).then_some(records)
        })
    };
    committed(500);

    kafka.stop();
    let told = |stage: &Value| {
        let message = stage["last_error"]["message"].as_str()?;
        (message.contains(&brokers) || message.to_lowercase().contains("broker")).then_some(())
    };
    let away = eventually("both roles tell of the broker", DEADLINE, || {
        let report = report(role())?;
        told(&stage(&report, "ingest")?)?;
        told(&stage(&report, "produce")?)?;
        Some(report)
    });
    assert_eq!(away["kafka"]["brokers"], brokers.as_str());
    assert!(away["kafka"]["error"].is_string(), "{away}");
    let screen = Running::start(role().arg("status")).output();
    let screen = String::from_utf8(screen.stdout).unwrap();
    assert!(
        screen.contains(&format!("kafka {brokers}: ")) && screen.contains("last_error"),
        "{screen}"
    );
    // What the feed makes meanwhile waits in the producer.
    eventually("records wait", DEADLINE, || {
        (stage(&report(role())?, "produce")?["waiting"].as_u64()? > 1000).then_some(())
    });

    kafka.start();
    let before = stage(&away, "ingest").unwrap()["records"].as_u64().unwrap();
    committed(before + 2000);
    produce.terminate();
    ingest.terminate();
    assert!(
        Running::start(role().args(["ingest", "--until-latest"]))
            .output()
            .status
            .success()
    );
    let lake = folder.join("lake");
    stdout(folder, &["refresh", "--lake", lake.to_str().unwrap()]);
    let records = LakeFolder(lake.clone()).assert_bronze_is_exact();
    // The simulator numbers its trades without a hole: none lost, none twice.
    assert_eq!(LakeFolder(lake.clone()).assert_silver_is_unique(), records);
    let trades = LakeFolder(lake.clone()).silver();
    assert_no_hole(&trades);
    assert_bars_equal_the_fold(&lake, &trades);
}

fn assert_no_hole(trades: &[crate::lake::Trade]) {
    let mut seqs: std::collections::BTreeMap<&str, Vec<i64>> = Default::default();
    for trade in trades {
        seqs.entry(&trade.symbol).or_default().push(trade.seq);
    }
    for (symbol, mut seqs) in seqs {
        seqs.sort_unstable();
        let whole = seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        assert!(whole, "trades of {symbol} are missing");
    }
}

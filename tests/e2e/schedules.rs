//! `ticklake run` beside another scheduler on the same lake: standing by, taking over from one that was killed and from one that was stopped in
//! the middle; `ticklake jobs`, `run --dry-run`, the history and the job `parity`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Running, eventually, output, stdout, ticklake};
use crate::up::{Up, assert_exact, start};

const QUICK: &str = "[jobs]\nlease = '2s'\n";
const LONG: Duration = Duration::from_secs(60);

/// `up`, which works, and `run` beside it, which stands by.
fn up_and_standby(folder: &Path, lake: &str) -> (Up, Running) {
    let up = start(folder, &[]);
    up.wait_for_trades(folder, 0, LONG);
    let standby = Running::start(ticklake(folder).args(["run", "--lake", lake]));
    eventually(&format!("a standby\n{}", standby.said()), LONG, || {
        job(folder, lake, "silver").filter(|job| job["standing_by"] == 1)
    });
    (up, standby)
}

/// What `ticklake jobs` says of one job.
fn job(folder: &Path, lake: &str, name: &str) -> Option<Value> {
    let text = stdout(folder, &["jobs", "--format", "json", "--lake", lake]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let jobs = report["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["job"] == name).cloned()
}

/// Tokens of `lease/<job>` in the order of the table's log.
fn tokens(lake: &Path, table: &str, job: &str) -> Vec<i64> {
    let log = lake.join(table).join("_delta_log");
    let app_id = format!("lease/{job}");
    let mut tokens = Vec::new();
    for version in 1.. {
        let Ok(entry) = std::fs::read_to_string(log.join(format!("{version:020}.json"))) else {
            break;
        };
        let actions = entry.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = actions.filter(|action| action["txn"]["appId"] == app_id.as_str());
        tokens.extend(found.map(|action| action["txn"]["version"].as_i64().unwrap()));
    }
    tokens
}

#[test]
fn of_two_schedulers_one_works_and_a_killed_one_is_followed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lake = folder.join("data/lake");
    let uri = lake.to_str().unwrap();
    // Thirty seconds: nobody waits that long for a process that is known to be gone.
    let (up, standby) = up_and_standby(folder, uri);
    up.wait_for_trades(folder, up.trades(folder), LONG);
    assert_eq!(tokens(&lake, "silver/trades", "silver").iter().max(), Some(&1));
    up.process.kill();
    eventually(
        &format!("a takeover\n{}", standby.said()),
        Duration::from_secs(25),
        || job(folder, uri, "silver").filter(|job| job["by"].as_str().is_some_and(|by| by.starts_with("run "))),
    );
    standby.terminate();
    let tokens = tokens(&lake, "gold/ohlcv_1m", "gold-1m");
    assert!(tokens.is_sorted(), "{tokens:?}");
    assert_exact(folder);

    let screen = stdout(folder, &["jobs", "--lake", uri]);
    assert!(screen.contains("no process now, last by"), "{screen}");
    let silver = screen.lines().find(|line| line.starts_with("silver")).unwrap();
    assert!(
        silver.contains("done") && silver.contains("0 versions, 0 s"),
        "{screen}"
    );
}

#[test]
fn a_scheduler_that_was_stopped_in_the_middle_writes_nothing_when_it_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ticklake.toml"), QUICK).unwrap();
    let lake = folder.join("data/lake");
    let uri = lake.to_str().unwrap();
    let (up, standby) = up_and_standby(folder, uri);
    up.process.signal("-STOP");
    let all = ["silver/trades", "silver/quarantine", "gold/ohlcv_1m", "gold/ohlcv_5m"];
    let job_of = |table: &str| match table {
        "gold/ohlcv_1m" => "gold-1m",
        "gold/ohlcv_5m" => "gold-5m",
        _ => "silver",
    };
    // The next holder shuts it out of each table.
    for table in all {
        eventually(&format!("a takeover of {table}\n{}", standby.said()), LONG, || {
            tokens(&lake, table, job_of(table)).contains(&2).then_some(())
        });
    }
    up.process.signal("-CONT");
    // Its feed and its ingest go on, its jobs do not.
    let trades = up.trades(folder);
    up.wait_for_trades(folder, trades, LONG);
    up.process.terminate();
    standby.terminate();
    for table in all {
        let tokens = tokens(&lake, table, job_of(table));
        assert!(tokens.is_sorted(), "{table}: {tokens:?}");
    }
    assert_exact(folder);
    let verified = output(folder, &["verify", "--lake", uri]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn what_the_jobs_did_is_a_table_and_what_they_would_do_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let candles = folder.join("candles.csv");
    std::fs::write(&candles, "time,open,high,low,close,volume\n1577836800,1,1,1,1,1\n").unwrap();
    let settings = format!(
        "[jobs]\nparity = '1s'\n[[parity.candles]]\nsource = '{}'\nvenue = 'sim'\nsymbol = 'BTC-USDT'\n",
        candles.display()
    );
    std::fs::write(folder.join("ticklake.toml"), settings).unwrap();
    let uri = folder.join("data/lake");
    let uri = uri.to_str().unwrap();
    let up = start(folder, &[]);
    up.wait_for_trades(folder, 0, LONG);
    eventually(&format!("a run of parity\n{}", up.process.said()), LONG, || {
        job(folder, uri, "parity").filter(|job| job["outcome"] == "done" && job["rows_in"] == 1)
    });
    let screen = stdout(folder, &["jobs", "--lake", uri]);
    for name in [
        "silver",
        "gold-1m",
        "gold-5m",
        "checkpoint",
        "optimize",
        "vacuum",
        "checks",
        "parity",
    ] {
        assert!(
            screen.lines().any(|line| line.starts_with(name)),
            "no {name} in\n{screen}"
        );
    }
    let status = stdout(folder, &["status", "--lake", uri]);
    assert!(
        status.contains("requests  ") && status.contains("in the last hour"),
        "{status}"
    );
    up.process.terminate();

    // The drain has left nothing unread or little; what came last is told with its versions.
    let dry = stdout(folder, &["run", "--dry-run", "--lake", uri]);
    for part in [
        "checks       silver.trades: run sql/checks/silver_key_once.sql",
        "parity       gold.ohlcv_1m: hold the closed bars",
    ] {
        assert!(dry.contains(part), "{dry}");
    }
    let history = stdout(folder, &["jobs", "--format", "json", "--lake", uri]);
    let report: Value = serde_json::from_str(&history).unwrap();
    for job in report["jobs"].as_array().unwrap() {
        assert_eq!(
            (&job["state"], &job["outcome"]),
            (&"no process".into(), &"done".into()),
            "{job}"
        );
    }
}

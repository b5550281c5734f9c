//! `ticklake up` as a newcomer meets it: bars within seconds, newer ones later, and the same folder after a stop and after a kill.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lake::{LakeFolder, assert_bars_equal_the_fold};
use crate::login::get;
use crate::process::{RefusedPort, Running, eventually, output, stdout, ticklake};

const LATEST: &str =
    "SELECT window_start, symbol, trade_count, revision FROM gold.ohlcv_1m ORDER BY window_start DESC, symbol LIMIT 10";
const TRADES: &str = "SELECT count(*) AS n FROM silver.trades";
/// The promise of the first block that `up` prints.
const FIRST_BARS: Duration = Duration::from_secs(10);

pub struct Up {
    pub process: Running,
    flight: String,
    http: String,
}

pub fn start(folder: &Path, args: &[&str]) -> Up {
    let data_dir = folder.join("data");
    let ports = data_dir.join("ports.json");
    let _old = std::fs::remove_file(&ports);
    let mut command = ticklake(folder);
    command.args([
        "up",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--flight-addr",
        "127.0.0.1:0",
        "--kafka-addr",
        "127.0.0.1:0",
        "--http-addr",
        "127.0.0.1:0",
    ]);
    let mut process = Running::start(command.args(args));
    let ports: Value = eventually("ports.json", Duration::from_secs(30), || {
        assert!(process.is_running(), "{}", process.said());
        Some(serde_json::from_str(&std::fs::read_to_string(&ports).ok()?).unwrap())
    });
    let of = |listener: &str| ports[listener].as_str().unwrap().to_owned();
    Up {
        flight: of("flight"),
        http: of("http"),
        process,
    }
}

impl Up {
    /// Rows as JSON, or `None` while the query fails (the table is not there yet).
    fn query(&self, folder: &Path, sql: &str) -> Option<Vec<Value>> {
        let output = output(folder, &["query", "--server", &self.flight, "--format", "json", sql]);
        let text = String::from_utf8(output.stdout).unwrap();
        output
            .status
            .success()
            .then(|| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    pub fn trades(&self, folder: &Path) -> i64 {
        self.query(folder, TRADES)
            .and_then(|rows| rows[0]["n"].as_i64())
            .unwrap_or_default()
    }

    pub fn wait_for_trades(&self, folder: &Path, above: i64, within: Duration) -> i64 {
        eventually(
            &format!("more than {above} trades in silver\n{}", self.process.said()),
            within,
            || Some(self.trades(folder)).filter(|trades| *trades > above),
        )
    }
}

/// After `up` has stopped: nothing lost, nothing doubled, gold is what silver says.
pub fn assert_exact(folder: &Path) {
    let lake = folder.join("data/lake");
    let bronze = LakeFolder(lake.clone()).assert_bronze_is_exact();
    let silver = LakeFolder(lake.clone()).assert_silver_is_unique();
    // The drain may leave bronze ahead of silver, and silver ahead of gold: one refresh closes both.
    stdout(folder, &["refresh", "--lake", lake.to_str().unwrap()]);
    let refreshed = LakeFolder(lake.clone()).assert_silver_is_unique();
    assert!(
        silver <= refreshed && refreshed == bronze,
        "{bronze} records made {silver}, then {refreshed} trades"
    );
    assert_bars_equal_the_fold(&lake, &LakeFolder(lake.clone()).silver());
}

#[test]
fn bars_within_seconds_and_the_folder_goes_on_after_stop_and_kill() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let up = start(folder, &[]);
    let first = eventually("bars", FIRST_BARS, || {
        up.query(folder, LATEST).filter(|rows| !rows.is_empty())
    });
    let newer = |rows: &Vec<Value>| *rows != first;
    eventually("newer bars", FIRST_BARS, || up.query(folder, LATEST).filter(newer));
    let before = up.wait_for_trades(folder, 0, FIRST_BARS);
    // A first start has nothing to complain about.
    assert!(
        !up.process.said().contains("WARN") && !up.process.said().contains("ERROR"),
        "{}",
        up.process.said()
    );
    up.process.terminate();
    assert_exact(folder);

    let up = start(folder, &[]);
    let before = up.wait_for_trades(folder, before, Duration::from_secs(20));
    up.process.kill();
    assert_exact(folder);

    let up = start(folder, &[]);
    up.wait_for_trades(folder, before, Duration::from_secs(20));
    up.process.terminate();
    assert_exact(folder);
}

#[test]
fn each_statement_leaves_one_audit_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line_of = |up: &Up, sql: &str, shown: &str| {
        eventually("an answer", Duration::from_secs(20), || up.query(folder, sql));
        // The line is written once the last byte is out.
        let line = eventually("its line", Duration::from_secs(5), || {
            let log = std::fs::read_to_string(folder.join("data/audit.log")).ok()?;
            let mut lines = log
                .lines()
                .filter(|line| line.contains(shown) && line.contains("\"outcome\":\"ok\""));
            lines.next().map(str::to_owned)
        });
        assert!(!up.process.said().contains(shown), "{}", up.process.said());
        serde_json::from_str::<Value>(&line).unwrap()
    };

    let up = start(folder, &[]);
    up.wait_for_trades(folder, 0, Duration::from_secs(20));
    let sql = "SELECT count(*) AS audited FROM silver.trades";
    let line = line_of(&up, sql, sql);
    for field in ["id", "user", "peer", "client", "protocol", "outcome", "tables"] {
        assert!(
            line[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {line}"
        );
    }
    for field in [
        "rows",
        "bytes",
        "queue_ms",
        "plan_ms",
        "execute_ms",
        "elapsed_ms",
        "peak_bytes",
    ] {
        assert!(line[field].is_u64(), "{field}: {line}");
    }
    assert_eq!((&line["user"], &line["rows"]), (&"anonymous".into(), &1.into()));
    let versions: Value = serde_json::from_str(line["tables"].as_str().unwrap()).unwrap();
    assert!(versions["silver.trades"].is_u64(), "{line}");
    up.process.terminate();

    std::fs::write(folder.join("ticklake.toml"), "[serve]\nredact_sql = true\n").unwrap();
    let up = start(folder, &[]);
    let line = line_of(&up, "SELECT 'whose' AS secret", "sha256:");
    assert!(line["sql"].as_str().unwrap().starts_with("sha256:"), "{line}");
    up.process.terminate();
    let log = std::fs::read_to_string(folder.join("data/audit.log")).unwrap();
    assert!(log.contains("audited") && !log.contains("whose"), "{log}");
}

/// What a stage writes the next one reads in the same process: of what was written nothing is fetched, and what is fetched is a look for what others
/// may have written, a few for each commit.
#[test]
fn up_fetches_nothing_that_it_has_written_itself() {
    let folder = tempfile::tempdir().unwrap();
    let up = start(folder.path(), &[]);
    let counts = || {
        let metrics = get(&up.http, "/metrics");
        ["get", "head", "put"].map(|kind| {
            let series = format!("kind=\"{kind}\"}} ");
            let total = |line: &&str| line.starts_with("ticklake_store_requests_total{role=\"up\"");
            let mut lines = metrics.lines().filter(total);
            let count = lines.find_map(|line| line.split_once(&series)).unwrap().1;
            count.parse::<u64>().unwrap()
        })
    };
    // From when all of it runs, until each minute's bars have been computed from many files.
    let begun = up.wait_for_trades(folder.path(), 2_000, Duration::from_secs(30));
    let before = counts();
    up.wait_for_trades(folder.path(), begun + 12_000, Duration::from_secs(60));
    let [gets, heads, puts] = std::array::from_fn(|kind| counts()[kind] - before[kind]);
    println!("{gets} gets, {heads} heads, {puts} puts");
    assert!(puts > 50, "{puts} puts");
    assert!(
        gets < 4 * puts && heads < puts,
        "{gets} gets and {heads} heads for {puts} puts"
    );
    up.process.terminate();
}

#[test]
fn a_second_up_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let up = start(folder.path(), &[]);
    let data_dir = folder.path().join("data");
    let second = output(
        folder.path(),
        &[
            "up",
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--kafka-addr",
            "127.0.0.1:0",
            "--flight-addr",
            "127.0.0.1:0",
        ],
    );
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another `ticklake up` runs on"), "{stderr}");
    up.process.terminate();
}

#[test]
fn the_first_block_says_what_runs_where() {
    let folder = tempfile::tempdir().unwrap();
    let up = start(folder.path(), &[]);
    let said = eventually("the block", Duration::from_secs(10), || {
        Some(up.process.said()).filter(|said| said.contains("SELECT"))
    });
    let stdout = said.split("--- stderr").next().unwrap();
    assert!(
        stdout.contains(&up.flight) && stdout.contains("ticklake query"),
        "{said}"
    );
    assert!(stdout.lines().count() <= 15, "a short block: {stdout}");
    // The query that it offers runs as pasted.
    let offered = stdout.lines().find(|line| line.contains(" query ")).unwrap().trim();
    eventually("the offered query", FIRST_BARS, || {
        let mut shell = Command::new("sh");
        shell.args(["-c", offered]).current_dir(folder.path());
        let output = Running::start(&mut shell).output();
        String::from_utf8_lossy(&output.stdout).contains("-USDT").then_some(())
    });
    up.process.terminate();
}

fn status(folder: &Path, format: &str) -> String {
    let mut command = ticklake(folder);
    command
        .env("TICKLAKE_UP__DATA_DIR", folder.join("data"))
        .args(["status", "--format", format]);
    let output = Running::start(&mut command).output();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn status_shows_positions_lag_and_ages() {
    let folder = tempfile::tempdir().unwrap();
    let up = start(folder.path(), &[]);
    up.wait_for_trades(folder.path(), 0, Duration::from_secs(20));
    let report: Value = eventually("a heartbeat", Duration::from_secs(10), || {
        let report: Value = serde_json::from_str(&status(folder.path(), "json")).unwrap();
        (report["roles"][0]["state"] == "running").then_some(report)
    });
    let tables: Vec<_> = report["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["table"].as_str().unwrap())
        .collect();
    assert!(
        tables.contains(&"bronze.trades") && tables.contains(&"gold.ohlcv_1m"),
        "{tables:?}"
    );
    assert!(report["kafka"]["lag_records"].is_i64(), "{report}");
    let screen = status(folder.path(), "table");
    assert!(
        screen.contains("bronze.trades") && screen.contains("records"),
        "{screen}"
    );
    up.process.terminate();
}

#[test]
fn a_free_port_is_picked_and_the_default_one_is_not_needed() {
    // Whoever holds the default ports, port 0 does not care.
    let _held: Vec<_> = ["127.0.0.1:50051", "127.0.0.1:9092"]
        .iter()
        .filter_map(|addr| TcpListener::bind(addr).ok())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let up = start(folder.path(), &[]);
    assert!(!up.flight.ends_with(":0"), "{}", up.flight);
    up.process.terminate();
}

#[test]
fn a_stage_that_fails_shows_in_status_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let refused = RefusedPort::new();
    let nobody = refused.addr();
    let up = start(folder.path(), &["--bootstrap-servers", &nobody]);
    eventually("both stages tell of the broker", Duration::from_secs(60), || {
        let report: Value = serde_json::from_str(&status(folder.path(), "json")).unwrap();
        let tells = |stage: &str| {
            let error = &report["roles"][0]["stages"][stage]["stage_error"]["message"];
            error.as_str().is_some_and(|message| message.contains(&nobody))
        };
        (tells("produce") && tells("ingest")).then_some(())
    });
    assert_eq!(up.query(folder.path(), "SELECT 1 AS n").unwrap()[0]["n"], 1);
    up.process.terminate();
}

//! The roles as processes of their own, with the commands and settings of docker-compose.yml, meeting in Kafka and the lake only.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::lake::{LakeFolder, assert_bars_equal_the_fold};
use crate::login::get;
use crate::process::{Running, eventually, output, stdout, ticklake};

/// A role with the environment that the compose file gives every service.
fn role(folder: &Path, broker: &Broker, args: &[&str]) -> Command {
    let mut command = ticklake(folder);
    command
        .env("TICKLAKE_LAKE__URI", folder.join("lake"))
        .env("TICKLAKE_KAFKA__BOOTSTRAP_SERVERS", &broker.addr)
        .env("TICKLAKE_KAFKA__TOPIC", &broker.topic)
        .args(args);
    command
}

/// Address that `serve` prints.
pub fn address(serve: &Running) -> String {
    eventually("the server's address", Duration::from_secs(20), || {
        serve
            .said()
            .lines()
            .find_map(|line| line.strip_prefix("flight sql on ").map(str::to_owned))
    })
}

fn query(folder: &Path, server: &str, sql: &str) -> Option<Vec<Value>> {
    let output = output(folder, &["query", "--server", server, "--format", "json", sql]);
    let text = String::from_utf8(output.stdout).unwrap();
    output
        .status
        .success()
        .then(|| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn produce_ingest_run_and_serve_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder);
    // No order among them: each one waits for what it needs.
    let any_port = ["serve", "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let serve = Running::start(&mut role(folder, &broker, &any_port));
    let run = Running::start(&mut role(folder, &broker, &["run"]));
    let ingest = Running::start(&mut role(folder, &broker, &["ingest"]));
    let produce = Running::start(&mut role(folder, &broker, &["produce", "--feed", "sim"]));
    let server = address(&serve);

    let latest =
        "SELECT symbol, window_start, trade_count FROM gold.ohlcv_1m ORDER BY window_start DESC, symbol LIMIT 5";
    eventually("bars over SQL", Duration::from_secs(40), || {
        query(folder, &server, latest).filter(|rows| !rows.is_empty())
    });

    let mut status = role(folder, &broker, &["status", "--format", "json"]);
    let report: Value = eventually("every role's heartbeat", Duration::from_secs(20), || {
        let output = Running::start(&mut status).output();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let roles: Vec<_> = report["roles"]
            .as_array()?
            .iter()
            .filter_map(|role| role["role"].as_str().map(str::to_owned))
            .collect();
        ["produce", "ingest", "run", "serve"]
            .iter()
            .all(|role| roles.iter().any(|found| found == role))
            .then_some(report)
    });
    assert!(report["kafka"]["lag_records"].is_i64(), "{report}");
    assert_every_role_s_requests_are_told(&serve, &report);

    // A kill in the middle, and the role that comes after it goes on.
    ingest.kill();
    let before = query(folder, &server, "SELECT count(*) AS n FROM bronze.trades").unwrap()[0]["n"]
        .as_i64()
        .unwrap();
    let ingest = Running::start(&mut role(folder, &broker, &["ingest"]));
    eventually("more bronze rows", Duration::from_secs(30), || {
        query(folder, &server, "SELECT count(*) AS n FROM bronze.trades")
            .filter(|rows| rows[0]["n"].as_i64() > Some(before))
    });

    produce.terminate();
    ingest.terminate();
    run.terminate();
    serve.terminate();

    let mut rest = role(folder, &broker, &["ingest", "--until-latest"]);
    assert!(Running::start(&mut rest).output().status.success());
    let lake = folder.join("lake");
    stdout(folder, &["refresh", "--lake", lake.to_str().unwrap()]);
    let records = LakeFolder(lake.clone()).assert_bronze_is_exact();
    assert_eq!(LakeFolder(lake.clone()).assert_silver_is_unique(), records);
    assert_bars_equal_the_fold(&lake, &LakeFolder(lake.clone()).silver());
}

/// One scrape of the server tells what every role asks of the store, at least what its heartbeat of before has said.
fn assert_every_role_s_requests_are_told(serve: &Running, status: &Value) {
    let said = serve.said();
    let http = said
        .lines()
        .find_map(|line| line.strip_prefix("health and metrics on "))
        .unwrap();
    let metrics = get(http, "/metrics");
    for role in status["roles"].as_array().unwrap() {
        let (name, process) = (role["role"].as_str().unwrap(), role["instance"].as_str().unwrap());
        for (series, key) in [("total", "total"), ("last_hour", "last_hour")] {
            for (kind, count) in role["requests"][key].as_object().into_iter().flatten() {
                let labels = format!("{{role=\"{name}\",process=\"{process}\",kind=\"{kind}\"}} ");
                let line = format!("ticklake_store_requests_{series}{labels}");
                let told = metrics.lines().find_map(|has| has.strip_prefix(&line));
                let told: u64 = told.unwrap_or_else(|| panic!("no {line}in {metrics}")).parse().unwrap();
                assert!(
                    told >= count.as_u64().unwrap(),
                    "{line}{told}, the heartbeat said {count}"
                );
            }
        }
    }
    for role in ["ingest", "run"] {
        let puts = |line: &&str| line.starts_with("ticklake_store_requests_total{") && line.contains("kind=\"put\"");
        let of_role = |line: &&str| line.contains(&format!("role=\"{role}\"")) && !line.ends_with(" 0");
        assert!(metrics.lines().filter(puts).any(|line| of_role(&line)), "{metrics}");
    }
}

#[test]
fn dead_letters_are_listed() {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder);
    let lake = folder.join("lake");
    let flags = ["--lake", lake.to_str().unwrap(), "--topic", &broker.topic];
    // One good trade makes the topic.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ws-sessions/binance.jsonl.zst");
    stdout(
        folder,
        &[
            "produce",
            "--feed",
            &format!("replay={}", file.display()),
            "--bootstrap-servers",
            &broker.addr,
            "--topic",
            &broker.topic,
        ],
    );
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.addr)
        .create()
        .unwrap();
    for payload in [&b"no json"[..], b"\xff\xfe", b""] {
        producer
            .send(
                BaseRecord::<[u8], [u8]>::to(&broker.topic)
                    .partition(0)
                    .payload(payload),
            )
            .unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    stdout(
        folder,
        &[
            &["ingest", "--until-latest", "--bootstrap-servers", &broker.addr][..],
            &flags,
        ]
        .concat(),
    );

    let list = |more: &[&str]| {
        stdout(
            folder,
            &[&["dlq", "list", "--lake", lake.to_str().unwrap()][..], more].concat(),
        )
    };
    let rows: Vec<Value> = list(&["--format", "json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut classes: Vec<_> = rows.iter().map(|row| row["error_class"].as_str().unwrap()).collect();
    classes.sort_unstable();
    assert_eq!(classes, ["empty_value", "not_json", "not_utf8"]);
    let table = list(&["--class", "not_json"]);
    assert!(table.contains("no json") && !table.contains("empty_value"), "{table}");
    assert_eq!(list(&["--limit", "1", "--format", "json"]).lines().count(), 1);
}

#[test]
fn query_formats_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broker = Broker::start(folder);
    let serve = Running::start(&mut role(folder, &broker, &["serve", "--flight-addr", "127.0.0.1:0"]));
    let server = address(&serve);
    let ask = |format: &str, sql: &str| output(folder, &["query", "--server", &server, "--format", format, sql]);
    let text = |format: &str, sql: &str| {
        let output = ask(format, sql);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let sql = "SELECT 1 AS one, 'a,b' AS two, CAST(NULL AS INT) AS three";
    assert_eq!(text("csv", sql), "one,two,three\n1,\"a,b\",\n");
    assert_eq!(text("json", sql), "{\"one\":1,\"two\":\"a,b\",\"three\":null}\n");
    assert!(text("table", sql).contains("| one | two | three |"));
    let arrow = ask("arrow", sql).stdout;
    let batches: Vec<_> = arrow::ipc::reader::StreamReader::try_new(&arrow[..], None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    // No rows, but the columns.
    assert_eq!(text("csv", "SELECT 1 AS one WHERE false"), "one\n");

    for (sql, part) in [
        ("SELECT * FROM gold.nothing", "nothing"),
        ("SELEC 1", "SELEC"),
        ("DROP TABLE silver.trades", "read"),
    ] {
        let output = ask("table", sql);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{sql}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(part),
            "{sql}: {stderr}"
        );
    }
    serve.terminate();
}

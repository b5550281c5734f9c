//! Wrong configuration, addresses, folders, brokers and buckets: one sentence that says what to do, the right exit code, no backtrace.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{RefusedPort, Running, output, stdout, ticklake};

/// Runs `args` in a folder with `file` as ticklake.toml; expects `code` and every part in the one line of stderr that is the error.
fn check(file: &str, variables: &[(&str, &str)], args: &[&str], code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(folder.path().join("ticklake.toml"), file).unwrap();
    }
    let mut command = ticklake(folder.path());
    command.args(args).envs(variables.iter().copied());
    check_command(command, code, parts);
}

/// As `check`, of a command that is ready to run.
fn check_command(mut command: Command, code: i32, parts: &[&str]) {
    let output = Running::start(command.env("RUST_BACKTRACE", "1")).output();
    let args: Vec<_> = command.get_args().collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{args:?}: one sentence, not {stderr}");
    assert!(
        !stderr.contains("backtrace") && !stderr.contains("panicked") && !stderr.contains(".rs:"),
        "{stderr}"
    );
    for part in parts {
        assert!(errors[0].contains(part), "{args:?}: {:?} lacks {part:?}", errors[0]);
    }
}

#[test]
fn a_wrong_key_names_the_nearest_right_one() {
    let parts = [
        "kafka.bootstrap_server ",
        "ticklake.toml",
        "did you mean kafka.bootstrap_servers?",
    ];
    for args in [
        &["config", "check"][..],
        &["ingest", "--until-latest"],
        &["up"],
        &["status"],
    ] {
        check("[kafka]\nbootstrap_server = 'x'\n", &[], args, 2, &parts);
    }
    check(
        "",
        &[("TICKLAKE_INGEST__COMIT_AGE", "5s")],
        &["config", "check"],
        2,
        &["TICKLAKE_INGEST__COMMIT_AGE?"],
    );
}

#[test]
fn a_wrong_unit_or_value_names_its_key() {
    check(
        "[ingest]\ncommit_age = '5 mss'\n",
        &[],
        &["config", "check"],
        2,
        &["ingest.commit_age", "\"mss\"", "\"ms\"?"],
    );
    check(
        "[ingest]\ncommit_bytes = 128\n",
        &[],
        &["config", "check"],
        2,
        &["ingest.commit_bytes", "no unit", "128MB"],
    );
    check(
        "",
        &[],
        &["ingest", "--commit-age", "soon"],
        2,
        &["ingest.commit_age", "--commit-age", "5s"],
    );
    check(
        "",
        &[],
        &["ingest", "--on-lost-position", "skip"],
        2,
        &["on_lost_position", "earliest"],
    );
    check("", &[], &["produce", "--feed", "bynance"], 2, &["bynance", "binance"]);
    check(
        "[silver]\nearliest = 'soon'\n",
        &[],
        &["config", "check"],
        2,
        &["silver.earliest", "YYYY-MM-DD"],
    );
    check(
        "[jobs]\ngold = 'often'\n",
        &[],
        &["run"],
        2,
        &["jobs.gold", "often", "5s"],
    );
    check(
        "[jobs]\nintervals = ['1m', '7m']\n",
        &[],
        &["config", "check"],
        2,
        &["jobs.intervals", "7m", "5m"],
    );
    check("[kafka\n", &[], &["config", "check"], 2, &["ticklake.toml", "line 1"]);
    check("", &[], &["--config", "missing.toml", "status"], 2, &["missing.toml"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["ingets"][..], &["query"], &["up", "--no-such-flag"]] {
        assert_eq!(output(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn config_show_masks_secrets_and_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[storage]\nsecret_access_key = 'hunter2'\n[kafka.librdkafka]\n'sasl.password' = 'hunter2'\n[ingest]\ncommit_age = '2s'\n";
    std::fs::write(folder.path().join("ticklake.toml"), file).unwrap();
    let shown = stdout(folder.path(), &["config", "show"]);
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
    assert!(shown.contains("commit_age = \"2s\""), "{shown}");
    std::fs::write(folder.path().join("ticklake.toml"), &shown).unwrap();
    assert_eq!(stdout(folder.path(), &["config", "show"]), shown);
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    check(
        "",
        &[],
        &["up", "--kafka-addr", &addr, "--flight-addr", "127.0.0.1:0"],
        1,
        &[&addr, "--kafka-addr"],
    );
    check(
        "",
        &[],
        &["up", "--flight-addr", &addr, "--kafka-addr", "127.0.0.1:0"],
        1,
        &[&addr, "--flight-addr"],
    );
    check(
        "",
        &[],
        &["serve", "--lake", "lake", "--flight-addr", &addr],
        1,
        &[&addr, "--flight-addr"],
    );
    check(
        "",
        &[],
        &["up", "--flight-addr", "nonsense", "--kafka-addr", "127.0.0.1:0"],
        1,
        &["nonsense", "--flight-addr"],
    );
}

#[test]
fn a_folder_without_permission_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let inside = file.join("data");
    check(
        "",
        &[],
        &["up", "--data-dir", inside.to_str().unwrap()],
        1,
        &[inside.to_str().unwrap(), "--data-dir"],
    );
    let read_only = folder.path().join("read-only");
    std::fs::create_dir(&read_only).unwrap();
    std::fs::set_permissions(&read_only, std::fs::Permissions::from_mode(0o500)).unwrap();
    let read_only = read_only.to_str().unwrap();
    check_command(
        without_privileges(folder.path(), &["up", "--data-dir", read_only]),
        1,
        &[read_only, "--data-dir"],
    );
    let lake = format!("{read_only}/lake");
    for args in [&["ingest", "--until-latest"][..], &["refresh"]] {
        let mut command = without_privileges(folder.path(), args);
        command.args(["--lake", &lake]);
        check_command(command, 2, &[&lake, "give this user the right", "Permission denied"]);
    }
}

/// The binary under the rules of permission that root stands above: root of a container keeps its name and loses that privilege.
fn without_privileges(folder: &Path, args: &[&str]) -> Command {
    let plain = ticklake(folder);
    let probe = folder.join("read-only/probe");
    if std::fs::write(&probe, "").is_err() {
        let mut command = plain;
        command.args(args);
        return command;
    }
    std::fs::remove_file(probe).unwrap();
    let mut command = Command::new("setpriv");
    command
        .arg("--bounding-set=-dac_override,-dac_read_search")
        .arg(plain.get_program())
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn an_unreachable_server_broker_or_bucket_is_named() {
    let refused = RefusedPort::new();
    let addr = refused.addr();
    check(
        "",
        &[],
        &["query", "--server", &addr, "SELECT 1"],
        1,
        &[&addr, "--server"],
    );
    check(
        "",
        &[],
        &[
            "ingest",
            "--lake",
            "lake",
            "--until-latest",
            "--bootstrap-servers",
            &addr,
        ],
        1,
        &[&addr],
    );
    check(
        "",
        &[],
        &["produce", "--feed", "sim", "--bootstrap-servers", &addr],
        1,
        &[&addr],
    );
    let storage = format!(
        "[storage]\nendpoint = 'http://{addr}'\nregion = 'us-east-1'\naccess_key_id = 'a'\nsecret_access_key = 'b'\n"
    );
    for args in [
        &["ingest", "--until-latest"][..],
        &["refresh"],
        &["run"],
        &["status"],
        &["dlq", "list"],
    ] {
        let args = [args, &["--lake", "s3://nowhere/lake"]].concat();
        check(&storage, &[], &args, 1, &["s3://nowhere/lake"]);
    }
}

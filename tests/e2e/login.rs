//! Users, tokens, running statements and health as an operator meets them: the commands, and a server that asks for a log-in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use crate::process::{Running, eventually, output, stdout, ticklake};

const WITHIN: Duration = Duration::from_secs(20);

/// `ticklake user add` with the password on stdin.
fn add_user(folder: &Path, args: &[&str], password: &str) -> bool {
    let mut child = ticklake(folder)
        .args(["user", "add"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("{password}\n").as_bytes()).unwrap();
    drop(stdin);
    child.wait().unwrap().success()
}

struct Server {
    process: Running,
    flight: String,
    http: String,
}

fn serve(folder: &Path, args: &[&str]) -> Server {
    let mut command = ticklake(folder);
    let any_port = "127.0.0.1:0";
    command.args(["serve", "--lake", "lake", "--http-addr", any_port]);
    if !args.contains(&"--flight-addr") {
        command.args(["--flight-addr", any_port]);
    }
    let process = Running::start(command.args(args));
    let said = |what: &str| {
        let said = process.said();
        let line = said.lines().find(|line| line.starts_with(what))?;
        Some(line.rsplit(' ').next()?.to_owned())
    };
    let flight = eventually("the server's address", WITHIN, || said("flight sql on"));
    let http = eventually("the address of health", WITHIN, || said("health and metrics on"));
    Server { process, flight, http }
}

pub fn get(addr: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

impl Server {
    fn ask(&self, folder: &Path, login: &[&str]) -> Output {
        let mut args = vec!["query", "--server", &self.flight, "--format", "csv", "SELECT 1 AS one"];
        args.extend(login);
        output(folder, &args)
    }
}

#[test]
fn users_log_in_and_are_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(!add_user(folder, &["alice"], "short"));
    assert!(add_user(folder, &["alice"], "correct horse"));
    let token = stdout(folder, &["token", "create", "alice"]);
    let token = token.trim();
    assert!(stdout(folder, &["user", "list"]).contains("alice"));
    assert!(stdout(folder, &["token", "list"]).contains("alice"));
    let users = folder.join("ticklake-data/users.toml");
    assert_eq!(std::fs::metadata(&users).unwrap().mode() & 0o777, 0o600);

    let server = serve(folder, &[]);
    let with_password = ["--user", "alice", "--password", "correct horse"];
    assert_eq!(server.ask(folder, &with_password).stdout, b"one\n1\n");
    assert_eq!(server.ask(folder, &["--token", token]).stdout, b"one\n1\n");
    for args in [&[][..], &["--user", "alice", "--password", "wrong"]] {
        let refused = server.ask(folder, args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("Unauthenticated"));
    }
    let of_alice = ["--server", &server.flight, "--token", token];
    let mine = output(
        folder,
        &[&["queries", "list", "--format", "json"][..], &of_alice].concat(),
    );
    assert!(
        String::from_utf8_lossy(&mine.stdout).contains("SELECT 1 AS one"),
        "{mine:?}"
    );
    let none = output(folder, &[&["queries", "cancel", "no-such-id"][..], &of_alice].concat());
    assert_eq!(none.status.code(), Some(1));

    stdout(folder, &["user", "revoke", "alice"]);
    eventually("the revoke holds", Duration::from_secs(5), || {
        (!server.ask(folder, &["--token", token]).status.success()).then_some(())
    });
    server.process.terminate();
}

#[test]
fn the_signing_key_is_kept_and_must_be_private() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    serve(folder, &[]).process.terminate();
    let key = folder.join("ticklake-data/server.key");
    assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let serve = ["serve", "--lake", "lake", "--flight-addr", "127.0.0.1:0"];
    let refused = output(folder, &serve);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod 600"));
}

#[test]
fn an_open_address_needs_users_and_encryption() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let refused = |args: &[&str]| {
        let mut all = vec!["serve", "--lake", "lake", "--flight-addr", "0.0.0.0:0"];
        all.extend(args);
        let refused = output(folder, &all);
        assert!(!refused.status.success(), "{args:?}");
        String::from_utf8_lossy(&refused.stderr).into_owned()
    };
    assert!(refused(&["--insecure"]).contains("ticklake user add"));
    assert!(add_user(folder, &["alice"], "correct horse"));
    assert!(refused(&[]).contains("--tls-cert"));
    assert!(refused(&["--tls-cert", "none.pem", "--tls-key", "none.pem"]).contains("none.pem"));
    assert!(refused(&["--tls-client-ca", "ca.pem"]).contains("tls_cert"));
}

#[test]
fn serving_unencrypted_elsewhere_is_loud() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(add_user(folder, &["alice"], "correct horse"));
    let loud = |args: &[&str]| {
        let server = serve(folder, args);
        let said = eventually("it serves", WITHIN, || {
            Some(server.process.said()).filter(|said| said.contains("serving flight sql"))
        });
        server.process.terminate();
        said.contains("WARN") && said.contains("serving unencrypted")
    };
    assert!(loud(&["--insecure", "--flight-addr", "0.0.0.0:0"]));
    assert!(!loud(&["--insecure"]), "on loopback nobody listens in");
}

#[test]
fn health_and_metrics_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), &[]);
    assert!(get(&server.http, "/health/live").starts_with("HTTP/1.1 200"));
    assert!(get(&server.http, "/health/ready").starts_with("HTTP/1.1 200"));
    stdout(folder.path(), &["query", "--server", &server.flight, "SELECT 1"]);
    let metrics = get(&server.http, "/metrics");
    assert!(metrics.contains("ticklake_serve_queries_total 1"), "{metrics}");
    assert!(get(&server.http, "/elsewhere").starts_with("HTTP/1.1 404"));
    server.process.terminate();
}

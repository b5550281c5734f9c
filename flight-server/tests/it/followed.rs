//! Files that change under a running server: what does not read keeps what was there, and is an alarm until it does.

use std::path::Path;

use arrow_flight::sql::client::FlightSqlServiceClient;
use ticklake_flight_server::{ServerOptions, UsersFile};

use crate::fixture::*;
use crate::identity::{Authority, PASSWORD, logged_in, users, with_users};

fn not_taken(server: &TestServer, name: &str) -> Option<String> {
    let shown = server.status.snapshot();
    shown["files_not_taken"][name].as_str().map(str::to_owned)
}

async fn until_refused(server: &TestServer, name: &str, why: &str) {
    eventually("the bad file was looked at", async || {
        not_taken(server, name).is_some_and(|told| told.contains(why))
    })
    .await;
    let shown = server.status.snapshot();
    assert!(
        shown["last_error"]["message"].as_str().unwrap().contains(why),
        "{shown}"
    );
}

async fn until_taken(server: &TestServer, name: &str) {
    eventually("the alarm is over", async || not_taken(server, name).is_none()).await;
}

#[tokio::test]
async fn a_bad_users_file_keeps_the_users_and_alarms() {
    let lake = TestLake::empty();
    let path = users(lake.dir.path(), "");
    let server = lake.serve(with_users(&path)).await;
    let mut alice = logged_in(&server, "alice").await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "[users.mallory]\nrole = 'king'").unwrap();
    until_refused(&server, "users", "king").await;
    assert_eq!(number(&mut alice, "SELECT 1").await, 1);
    assert_eq!(number(&mut logged_in(&server, "root").await, "SELECT 1").await, 1);
    std::fs::write(&path, text).unwrap();
    until_taken(&server, "users").await;
    UsersFile::open(&path)
        .unwrap()
        .add("bob", "reader", Some(PASSWORD))
        .unwrap();
    eventually("it is followed on", async || {
        server.client().await.handshake("bob", PASSWORD).await.is_ok()
    })
    .await;
    server.stop().await;
}

async fn tls(authority: &Authority, lake: &TestLake, users: &Path) -> TestServer {
    let options = ServerOptions {
        tls: Some(authority.files()),
        ..with_users(users)
    };
    lake.serve(options).await
}

#[tokio::test]
async fn a_bad_certificate_keeps_the_old_one_and_alarms_until_a_good_one_is_taken() {
    let (authority, next) = (Authority::new(), Authority::new());
    let lake = TestLake::empty();
    let server = tls(&authority, &lake, &users(lake.dir.path(), "")).await;
    authority.connect(&server, None).await.unwrap();
    authority.write("cert.pem", "nonsense");
    until_refused(&server, "certificates", "cert.pem").await;
    authority.connect(&server, None).await.unwrap();
    // A new certificate without its key yet.
    let (certificate, key) = next.sign(&["localhost"], "server");
    authority.write("cert.pem", &certificate);
    until_refused(&server, "certificates", "key.pem").await;
    authority.connect(&server, None).await.unwrap();
    authority.write("key.pem", &key);
    eventually("the new certificate", async || {
        next.connect(&server, None).await.is_ok()
    })
    .await;
    until_taken(&server, "certificates").await;
    server.stop().await;
}

#[tokio::test]
async fn a_new_authority_of_clients_is_taken_and_a_bad_one_is_not() {
    let (authority, next) = (Authority::new(), Authority::new());
    let lake = TestLake::empty();
    let server = tls(&authority, &lake, &users(lake.dir.path(), "")).await;
    let logs_in = async |signed_by: &Authority| {
        let identity = signed_by.sign(&["alice"], "x");
        match authority.connect(&server, Some(identity)).await {
            Ok(channel) => query(&mut FlightSqlServiceClient::new(channel), "SELECT 1")
                .await
                .is_ok(),
            Err(_) => false,
        }
    };
    assert!(logs_in(&authority).await && !logs_in(&next).await);
    authority.write("ca.pem", "nonsense");
    until_refused(&server, "certificates", "ca.pem").await;
    assert!(logs_in(&authority).await && !logs_in(&next).await);
    authority.write("ca.pem", &next.pem);
    eventually("clients of the new authority", async || logs_in(&next).await).await;
    assert!(!logs_in(&authority).await, "the old authority is out");
    until_taken(&server, "certificates").await;
    server.stop().await;
}

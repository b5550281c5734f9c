//! Log-in over the wire: passwords, bearers, tokens and certificates; what a role may not read is closed at every door.

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandStatementQuery, ProstMessageExt,
};
use arrow_flight::{Action, FlightDescriptor};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use ticklake_flight_server::{Secret, ServerOptions, TlsFiles, UsersFile};
use ticklake_sql::{Clock, TableName};
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::fixture::*;

pub const PASSWORD: &str = "correct horse";

pub fn users(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("users.toml");
    if !text.is_empty() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut file = UsersFile::open(&path).unwrap();
    file.add("alice", "reader", Some(PASSWORD)).unwrap();
    file.add("root", "admin", Some(PASSWORD)).unwrap();
    path
}

pub fn with_users(path: &Path) -> ServerOptions {
    ServerOptions {
        users_file: Some(path.to_owned()),
        signing_key: Some(Secret(vec![7; 32])),
        ..Default::default()
    }
}

pub async fn logged_in(server: &TestServer, user: &str) -> Client {
    let mut client = server.client().await;
    client.handshake(user, PASSWORD).await.unwrap();
    client
}

#[tokio::test]
async fn who_is_not_let_in_gets_nothing() {
    let lake = TestLake::with_bars(3).await;
    let path = users(lake.dir.path(), "");
    let server = lake.serve(with_users(&path)).await;
    let mut stranger = server.client().await;
    let refused = query(&mut stranger, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let refused = stranger.get_catalogs().await.map_err(status_of).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut raw = FlightServiceClient::new(server.channel().await);
    let refused = raw.list_flights(arrow_flight::Criteria::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for (user, password) in [("alice", "wrong"), ("nobody", PASSWORD)] {
        let mut client = server.client().await;
        let refused = client.handshake(user, password).await.map_err(status_of).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
        assert!(!refused.message().contains("exist"), "{refused:?}");
    }
    let mut alice = logged_in(&server, "alice").await;
    assert_eq!(number(&mut alice, "SELECT count(*) FROM gold.ohlcv_1m").await, 9);
    assert!(server.count("refused_logins") >= 5);
    server.stop().await;
}

#[tokio::test]
async fn bearers_and_tickets_outlive_the_server_but_not_their_user() {
    let lake = TestLake::with_bars(3).await;
    let path = users(lake.dir.path(), "");
    let server = lake.serve(with_users(&path)).await;
    let mut alice = logged_in(&server, "alice").await;
    let info = describe(&mut alice, "SELECT * FROM gold.ohlcv_1m").await.unwrap();
    let bearer = alice.token().unwrap().clone();
    server.stop().await;

    let server = lake.serve(with_users(&path)).await;
    let mut alice = server.client().await;
    alice.set_token(bearer);
    assert_eq!(fetch(&mut alice, ticket(&info)).await.unwrap().num_rows(), 9);
    let mut root = logged_in(&server, "root").await;
    let foreign = fetch(&mut root, ticket(&info)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::PermissionDenied, "{foreign:?}");
    UsersFile::open(&path).unwrap().revoke("alice").unwrap();
    eventually("the revoke holds", async || {
        fetch(&mut alice, ticket(&info))
            .await
            .is_err_and(|e| e.code() == Code::Unauthenticated)
    })
    .await;
    assert_eq!(number(&mut root, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_token_logs_in_by_itself_and_as_a_password_and_so_do_its_bearers_until_it_is_revoked() {
    let lake = TestLake::empty();
    let path = users(lake.dir.path(), "");
    let expires = Clock::system().now() + Duration::from_secs(60);
    let (id, token) = UsersFile::open(&path).unwrap().create_token("alice", expires).unwrap();
    let server = lake.serve(with_users(&path)).await;
    let mut by_token = server.client().await;
    by_token.set_token(token.clone());
    // The same token exchanged for a bearer, as a password and as a bearer, and that bearer exchanged again.
    let mut as_password = server.client().await;
    as_password.handshake("alice", &token).await.unwrap();
    let mut again = server.client().await;
    again.set_token(exchanged(&server, as_password.token().unwrap()).await);
    let mut as_bearer = server.client().await;
    as_bearer.set_token(exchanged(&server, &token).await);
    let mut by_password = logged_in(&server, "alice").await;
    let mut all = [by_token, as_password, again, as_bearer];
    for client in &mut all {
        assert_eq!(number(client, "SELECT 1").await, 1);
        assert_ne!(client.token(), by_password.token());
    }
    UsersFile::open(&path).unwrap().revoke_token(&id).unwrap();
    for client in &mut all {
        eventually("the revoke holds", async || {
            query(client, "SELECT 1")
                .await
                .is_err_and(|refused| refused.code() == Code::Unauthenticated)
        })
        .await;
    }
    assert_eq!(number(&mut by_password, "SELECT 1").await, 1);
    server.stop().await;
}

/// The bearer that a handshake gives for `bearer`.
async fn exchanged(server: &TestServer, bearer: &str) -> String {
    let mut request = tonic::Request::new(futures::stream::empty());
    let header = format!("Bearer {bearer}");
    request.metadata_mut().insert("authorization", header.parse().unwrap());
    let mut raw = FlightServiceClient::new(server.channel().await);
    let answer = raw.handshake(request).await.unwrap();
    let header = answer.metadata().get("authorization").unwrap().to_str().unwrap();
    header.strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn a_bearer_of_a_certificate_is_good_beside_it_only() {
    let authority = Authority::new();
    let lake = TestLake::empty();
    let path = users(lake.dir.path(), "");
    let options = ServerOptions {
        tls: Some(authority.files()),
        ..with_users(&path)
    };
    let server = lake.serve(options).await;
    let certified = authority.connect(&server, Some(authority.sign(&["alice"], "x"))).await;
    let mut certified = FlightSqlServiceClient::new(certified.unwrap());
    certified.handshake("any", "thing").await.unwrap();
    assert_eq!(number(&mut certified, "SELECT 1").await, 1);
    let mut elsewhere = FlightSqlServiceClient::new(authority.connect(&server, None).await.unwrap());
    elsewhere.set_token(certified.token().unwrap().clone());
    let refused = query(&mut elsewhere, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_an_earlier_key_signed_is_answered_while_it_is_accepted() {
    let lake = TestLake::with_bars(3).await;
    let path = users(lake.dir.path(), "");
    let keys = |first: u8, previous: &[u8]| ServerOptions {
        signing_key: Some(Secret(vec![first; 32])),
        previous_signing_keys: previous.iter().map(|key| Secret(vec![*key; 32])).collect(),
        ..with_users(&path)
    };
    let server = lake.serve(keys(1, &[])).await;
    let mut alice = logged_in(&server, "alice").await;
    let info = describe(&mut alice, "SELECT * FROM gold.ohlcv_1m").await.unwrap();
    let bearer = alice.token().unwrap().clone();
    server.stop().await;
    for (options, accepted) in [(keys(2, &[1]), true), (keys(3, &[2, 1]), true), (keys(3, &[2]), false)] {
        let server = lake.serve(options).await;
        let mut with_bearer = server.client().await;
        with_bearer.set_token(bearer.clone());
        assert_eq!(query(&mut with_bearer, "SELECT 1").await.is_ok(), accepted);
        let mut alice = logged_in(&server, "alice").await;
        assert_eq!(fetch(&mut alice, ticket(&info)).await.is_ok(), accepted);
        server.stop().await;
    }
}

/// The bars as they were known, which takes two tables of gold.
const KNOWN: &str = "SELECT count(*) FROM ohlcv_known_at('gold.ohlcv_1m', TIMESTAMP '2026-02-01 00:00:00')";

#[tokio::test]
async fn a_denied_schema_is_closed_at_every_door() {
    let lake = TestLake::with_bars(3).await;
    lake.add_trades("BTC-USDT", 0..3).await;
    let revisions = TableName::gold_ohlcv_revisions();
    lake.lake.create_table(&revisions).await.unwrap();
    let roles = "[roles.reader]\nschemas = ['gold']\n[roles.trader]\nschemas = ['silver']\n";
    let path = users(lake.dir.path(), roles);
    UsersFile::open(&path)
        .unwrap()
        .add("tom", "trader", Some(PASSWORD))
        .unwrap();
    let server = lake.serve(with_users(&path)).await;
    let mut alice = logged_in(&server, "alice").await;
    let mut tom = logged_in(&server, "tom").await;
    let mut root = logged_in(&server, "root").await;
    assert_eq!(number(&mut root, "SELECT count(*) FROM silver.trades").await, 3);

    let of_silver = [
        "SELECT * FROM silver.trades",
        "SELECT count(*) FROM silver.trades",
        "EXPLAIN SELECT * FROM silver.trades",
        "EXPLAIN ANALYZE SELECT * FROM silver.trades",
        "DESCRIBE silver.trades",
        "SHOW COLUMNS FROM silver.trades",
        "WITH t AS (SELECT * FROM silver.trades) SELECT 1 FROM t",
        "SELECT (SELECT count(*) FROM silver.trades)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM ticklake.silver.trades)",
        "SELECT symbol FROM gold.ohlcv_1m UNION ALL SELECT symbol FROM silver.trades",
        "SELECT * FROM table_at('silver.trades', 1)",
    ];
    let of_gold = [
        "SELECT * FROM gold.ohlcv_1m",
        "SELECT * FROM gold.latest",
        "SELECT count(*) FROM gold.latest",
        "EXPLAIN SELECT * FROM gold.latest",
        "DESCRIBE gold.latest",
        KNOWN,
        "SELECT symbol FROM silver.trades UNION ALL SELECT symbol FROM gold.latest",
    ];
    for (denied, texts) in [(&mut alice, &of_silver[..]), (&mut tom, &of_gold[..])] {
        for sql in texts {
            // It is the schema alone that is in the way.
            query(&mut root, sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
            let refused = query(denied, sql).await.expect_err(sql);
            assert!(
                matches!(
                    refused.code(),
                    Code::PermissionDenied | Code::NotFound | Code::InvalidArgument
                ),
                "{sql}: {refused:?}"
            );
            let prepared = denied.prepare((*sql).to_owned(), None).await;
            assert!(prepared.is_err(), "{sql}");
        }
    }
    for sql in [
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'silver'",
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'silver'",
        "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'silver'",
        "SELECT count(*) FROM system.tables WHERE table_schema = 'silver'",
    ] {
        assert_eq!(number(&mut alice, sql).await, 0, "{sql}");
        assert!(number(&mut root, sql).await > 0, "{sql}");
    }
    let shown = |rows: RecordBatch| pretty_format_batches(&[rows]).unwrap().to_string();
    assert!(!shown(rows(&mut alice, "SHOW TABLES").await).contains("silver"));
    assert!(shown(rows(&mut root, "SHOW TABLES").await).contains("silver"));
    for (client, schemas, tables, keys) in [(&mut alice, 1, 3, 0), (&mut root, 4, 6, 4)] {
        let info = client.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
        assert_eq!(fetch(client, ticket(&info)).await.unwrap().num_rows(), schemas);
        let all = CommandGetTables {
            include_schema: true,
            ..Default::default()
        };
        let info = client.get_tables(all).await.unwrap();
        assert_eq!(fetch(client, ticket(&info)).await.unwrap().num_rows(), tables);
        let of_trades = CommandGetPrimaryKeys {
            table: "trades".into(),
            ..Default::default()
        };
        let info = client.get_primary_keys(of_trades).await.unwrap();
        assert_eq!(fetch(client, ticket(&info)).await.unwrap().num_rows(), keys);
    }
    for (user, open) in [("alice", false), ("root", true)] {
        let mut raw = FlightServiceClient::new(server.channel().await);
        let command = CommandStatementQuery {
            query: "SELECT * FROM silver.trades".into(),
            transaction_id: None,
        };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let schema = raw.get_schema(by(user, descriptor.clone())).await;
        assert_eq!(schema.is_ok(), open, "{user}: {schema:?}");
        let info = raw.poll_flight_info(by(user, descriptor)).await;
        assert_eq!(info.is_ok(), open, "{user}: {info:?}");
        // A session whose schema it is.
        let mut request = by(
            user,
            Action {
                r#type: "SetSessionOptions".into(),
                body: SILVER_SESSION.into(),
            },
        );
        let cookie = "arrow_flight_session_id=none".parse().unwrap();
        request.metadata_mut().insert("cookie", cookie);
        let answer = raw.do_action(request).await.unwrap();
        let cookie = answer
            .metadata()
            .get("set-cookie")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let mut client = logged_in(&server, user).await;
        client.set_header("cookie", cookie);
        let counted = query(&mut client, "SELECT count(*) FROM trades").await;
        assert_eq!(counted.is_ok(), open, "{user}: {counted:?}");
    }
    // A ticket and a handle from before the role lost the schema are judged again.
    let info = describe(&mut root, "SELECT * FROM silver.trades").await.unwrap();
    let mut handle = root.prepare("SELECT * FROM silver.trades".into(), None).await.unwrap();
    let of_handle = handle.execute().await.unwrap();
    fetch(&mut root, ticket(&of_handle)).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("[roles.admin]\nschemas = ['gold']\n{text}")).unwrap();
    for ticket in [ticket(&info), ticket(&of_handle)] {
        eventually("the role is read again", async || {
            fetch(&mut root, ticket.clone())
                .await
                .is_err_and(|e| e.code() == Code::PermissionDenied)
        })
        .await;
    }
    let refused = handle.execute().await.map_err(status_of).unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    server.stop().await;
}

/// A request of `user`.
pub fn by<T>(user: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{PASSWORD}")));
    request.metadata_mut().insert("authorization", login.parse().unwrap());
    request
}

/// SetSessionOptions { session_options: { "schema": { string_value: "silver" } } }, by hand as in Flight.proto.
const SILVER_SESSION: &[u8] = b"\x0a\x12\x0a\x06schema\x12\x08\x0a\x06silver";

/// An authority, and the paths of what it signed.
pub struct Authority {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            dir: tempfile::tempdir().unwrap(),
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key for `names`, in PEM.
    pub fn sign(&self, names: &[&str], common: &str) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        // Replaced whole, as certificate tools do.
        let partial = self.dir.path().join("partial");
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(&partial, &path).unwrap();
        path
    }

    pub fn files(&self) -> TlsFiles {
        let (certificate, key) = self.sign(&["localhost"], "server");
        TlsFiles {
            certificate: self.write("cert.pem", &certificate),
            key: self.write("key.pem", &key),
            client_ca: Some(self.write("ca.pem", &self.pem)),
        }
    }

    pub async fn connect(
        &self,
        server: &TestServer,
        identity: Option<(String, String)>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.pem))
            .domain_name("localhost");
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://localhost:{}", server.addr.port())).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await
    }

    /// A connection that has shaken hands and said nothing.
    async fn shake_hands(&self, server: &TestServer) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = rustls::RootCertStore::empty();
        let certificate = rustls::pki_types::CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = tokio::net::TcpStream::connect(server.addr).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        connector
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn tls_carries_passwords_and_certificates_name_users() {
    let authority = Authority::new();
    let lake = TestLake::with_bars(3).await;
    let path = users(lake.dir.path(), "");
    let options = ServerOptions {
        tls: Some(authority.files()),
        ..with_users(&path)
    };
    let server = lake.serve(options).await;
    assert!(
        Endpoint::from_shared(format!("http://{}", server.addr))
            .unwrap()
            .connect()
            .await
            .is_err()
            || query(&mut server.client().await, "SELECT 1").await.is_err()
    );

    let mut alice = FlightSqlServiceClient::new(authority.connect(&server, None).await.unwrap());
    assert_eq!(
        query(&mut alice, "SELECT 1").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    alice.handshake("alice", PASSWORD).await.unwrap();
    assert_eq!(number(&mut alice, "SELECT count(*) FROM gold.ohlcv_1m").await, 9);

    let certified = authority
        .connect(&server, Some(authority.sign(&["alice"], "x")))
        .await
        .unwrap();
    assert_eq!(number(&mut FlightSqlServiceClient::new(certified), "SELECT 1").await, 1);
    let unknown = authority
        .connect(&server, Some(authority.sign(&["mallory"], "x")))
        .await
        .unwrap();
    let refused = query(&mut FlightSqlServiceClient::new(unknown), "SELECT 1")
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let foreign = Authority::new().sign(&["alice"], "alice");
    let refused = match authority.connect(&server, Some(foreign)).await {
        Ok(channel) => query(&mut FlightSqlServiceClient::new(channel), "SELECT 1")
            .await
            .is_err(),
        Err(_) => true,
    };
    assert!(refused, "a certificate of another authority");

    // A stalled handshake holds up nobody.
    let _stalled = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(number(&mut alice, "SELECT 1").await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_half_open_tls_handshake_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let lake = TestLake::empty();
    let options = ServerOptions {
        tls: Some(authority.files()),
        handshake_timeout: Duration::from_millis(300),
        ..Default::default()
    };
    let server = lake.serve(options).await;
    let mut half = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    // The head of a ClientHello that never comes.
    half.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    authority.connect(&server, None).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), half.read(&mut [0])).await;
    assert!(matches!(closed.expect("an end"), Ok(0) | Err(_)));
    authority.connect(&server, None).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_tls_connection_that_says_nothing_after_its_handshake_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let authority = Authority::new();
    let options = ServerOptions {
        tls: Some(authority.files()),
        handshake_timeout: Duration::from_millis(500),
        ..Default::default()
    };
    let server = TestLake::empty().serve(options).await;
    for said in ["", "PRI * HTTP/2.0\r\n"] {
        let mut silent = authority.shake_hands(&server).await;
        silent.write_all(said.as_bytes()).await.unwrap();
        authority.connect(&server, None).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 64])).await;
        assert!(matches!(closed.expect("an end"), Ok(0) | Err(_)), "after {said:?}");
    }
    authority.connect(&server, None).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn sessions_live_in_a_cookie() {
    use futures::TryStreamExt;
    let lake = TestLake::with_bars(3).await;
    lake.add_trades("BTC-USDT", 0..3).await;
    let server = lake.serve(ServerOptions::default()).await;
    let mut raw = FlightServiceClient::new(server.channel().await);
    let mut set = async |cookie: Option<&str>| {
        let mut request = tonic::Request::new(Action {
            r#type: "SetSessionOptions".into(),
            body: SILVER_SESSION.into(),
        });
        if let Some(cookie) = cookie {
            request.metadata_mut().insert("cookie", cookie.parse().unwrap());
        }
        let response = raw.do_action(request).await?;
        let cookie = response
            .metadata()
            .get("set-cookie")
            .map(|c| c.to_str().unwrap().to_owned());
        let results: Vec<_> = response.into_inner().try_collect().await?;
        assert_eq!(results.len(), 1);
        Ok::<_, tonic::Status>((cookie, results))
    };
    let (cookie, _) = set(None).await.unwrap();
    assert!(cookie.is_some_and(|cookie| !cookie.ends_with("=none")));
    let refused = set(None).await.unwrap_err();
    assert!(refused.message().contains("with_cookie_middleware"), "{refused:?}");
    let (cookie, _) = set(Some("arrow_flight_session_id=none")).await.unwrap();
    let mut client = server.client().await;
    assert!(query(&mut client, "SELECT count(*) FROM trades").await.is_err());
    client.set_header("cookie", cookie.unwrap());
    assert_eq!(number(&mut client, "SELECT count(*) FROM trades").await, 3);
    client.set_header("cookie", "arrow_flight_session_id=AAAA");
    let refused = query(&mut client, "SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // A reply to a client without a cookie offers one.
    let reply = raw.list_flights(arrow_flight::Criteria::default()).await.unwrap();
    let offered = reply.metadata().get("set-cookie").unwrap().to_str().unwrap();
    assert!(offered.starts_with("arrow_flight_session_id="), "{offered}");
    server.stop().await;
}

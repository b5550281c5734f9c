//! How long every kind of store is waited for, and how often it is asked again: against a server that says nothing, or refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;
use object_store::path::Path;
use ticklake_sql::{Clock, Lake, LakeOptions, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Of one request to who says nothing: as long as a busy machine may take to let somebody say something.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Above what two such requests take, below one of the default's time.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    /// Headers and the first half of the body.
    HalfOfIt,
    /// `503` to so many requests, then what was asked for.
    Unavailable(usize),
}

struct Server {
    addr: String,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                answer(&mut socket, says, &seen).await;
                if !matches!(says, Says::Unavailable(_)) {
                    open.push(socket);
                }
            }
        });
        Self { addr, requests, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(socket: &mut TcpStream, says: Says, seen: &AtomicUsize) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let number = seen.fetch_add(1, Ordering::SeqCst);
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\netag: \"1\"\r\nlast-modified: Fri, 27 Nov 2026 08:00:00 GMT\r\n\
                x-goog-generation: 1\r\ncontent-length: 4\r\n\r\n";
    let answer = match says {
        Says::Nothing => String::new(),
        Says::HalfOfIt => format!("{head}da"),
        Says::Unavailable(times) if number < times => {
            "HTTP/1.1 503 Slow Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        Says::Unavailable(_) => format!("{head}data"),
    };
    // The client may have gone.
    let _gone = socket.write_all(answer.as_bytes()).await;
}

/// One lake of each kind of store at `addr`.
fn lakes(addr: &str, storage: &Storage) -> [(&'static str, Lake); 3] {
    let endpoint = format!("http://{addr}");
    let kinds = [
        (
            "s3://bucket/lake",
            vec![
                ("aws_endpoint", &*endpoint),
                ("aws_region", "somewhere"),
                ("aws_skip_signature", "true"),
            ],
        ),
        (
            "gs://bucket/lake",
            vec![("google_base_url", &*endpoint), ("google_skip_signature", "true")],
        ),
        (
            "az://container/lake",
            vec![
                ("azure_storage_endpoint", &*endpoint),
                ("azure_storage_account_name", "account"),
                ("azure_skip_signature", "true"),
            ],
        ),
    ];
    kinds.map(|(uri, keys)| {
        let mut all = BTreeMap::from([("allow_http".to_owned(), "true".to_owned())]);
        all.extend(keys.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
        let storage = Storage {
            keys: all,
            ..storage.clone()
        };
        let options = LakeOptions {
            storage,
            ..LakeOptions::default()
        };
        (uri, Lake::open(uri, options, Clock::system()).unwrap())
    })
}

async fn read(lake: &Lake) -> object_store::Result<String> {
    let found = lake.object_store().get(&Path::from("object")).await?;
    Ok(String::from_utf8(found.bytes().await?.into()).unwrap())
}

/// What reading from each kind of store comes to, and how many requests it makes.
async fn check(says: Says, storage: Storage, expected: Option<&str>, requests: usize) {
    let of_kind = async |kind: usize| {
        let server = Server::start(says).await;
        let (uri, lake) = &lakes(&server.addr, &storage)[kind];
        let started = Instant::now();
        let outcome = read(lake).await;
        let elapsed = started.elapsed();
        let asked = server.requests.load(Ordering::SeqCst);
        assert!(elapsed < PATIENCE, "{uri} {says:?}: {elapsed:?}");
        assert_eq!(outcome.as_deref().ok(), expected, "{uri} {says:?}: {outcome:?}");
        assert_eq!(asked, requests, "{uri} {says:?}: {outcome:?}");
    };
    tokio::join!(of_kind(0), of_kind(1), of_kind(2));
}

fn patient(max_retries: usize) -> Storage {
    Storage {
        request_timeout: REQUEST_TIMEOUT,
        max_retries,
        ..Storage::default()
    }
}

fn trying(max_retries: usize) -> Storage {
    Storage {
        max_retries,
        ..Storage::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_says_nothing_is_left_after_the_request_s_time() {
    check(Says::Nothing, patient(0), None, 1).await;
    check(Says::Nothing, patient(1), None, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_left_after_the_request_s_time() {
    check(Says::HalfOfIt, patient(0), None, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_passes_is_asked_again_as_often_as_is_set() {
    check(Says::Unavailable(2), trying(2), Some("data"), 3).await;
    check(Says::Unavailable(2), trying(1), None, 2).await;
    let no_time = Storage {
        retry_timeout: Duration::ZERO,
        ..trying(2)
    };
    check(Says::Unavailable(2), no_time, None, 1).await;
}

//! The broker goes away under a running producer and a running ingest, for long, and comes back.
//!
//! Ten minutes are compressed to half a minute, and with them every limit of librdkafka that ten minutes would reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use ticklake_ingest::bronze::BronzeOptions;
use ticklake_ingest::feed::{BinanceOptions, FeedOptions};
use ticklake_ingest::kafka::KafkaOptions;
use ticklake_ingest::produce::{self, ProduceOptions, ProduceReport, ProduceStatus};
use ticklake_sql::{Clock, TableName};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::support::{DEADLINE, Held, Running, held, lake, options};

/// Ten minutes, compressed twenty times.
const OUTAGE: Duration = Duration::from_secs(30);

/// Limits of librdkafka, compressed with the outage: a request's timeout, the longest pause of a group's member, the age of metadata.
const COMPRESSED: [(&str, &str); 3] = [
    ("socket.timeout.ms", "3000"),
    ("topic.metadata.refresh.interval.ms", "15000"),
    ("metadata.max.age.ms", "45000"),
];

/// A venue that trades without a pause, whoever listens: ids grow while nobody is connected.
struct Venue {
    url: String,
    /// Id of the newest trade.
    newest: Arc<AtomicI64>,
}

impl Venue {
    async fn open(trades_a_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let newest = Arc::new(AtomicI64::new(0));
        let (trades, _) = tokio::sync::broadcast::channel::<i64>(1 << 16);
        let (clock, sender) = (newest.clone(), trades.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            loop {
                ticks.tick().await;
                for _ in 0..trades_a_second / 100 {
                    let _nobody = sender.send(clock.fetch_add(1, Ordering::SeqCst) + 1);
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, trades.subscribe()));
            }
        });
        Self { url, newest }
    }

    fn newest(&self) -> i64 {
        self.newest.load(Ordering::SeqCst)
    }
}

/// One connection, until the client goes.
async fn serve(stream: TcpStream, mut trades: tokio::sync::broadcast::Receiver<i64>) -> Option<()> {
    let mut socket = accept_async(stream).await.ok()?;
    let request: serde_json::Value = serde_json::from_str(socket.next().await?.ok()?.to_text().ok()?).ok()?;
    let answer = serde_json::json!({ "result": null, "id": request["id"] });
    socket.send(Message::text(answer.to_string())).await.ok()?;
    loop {
        tokio::select! {
            heard = socket.next() => { heard?.ok()?; }
            trade = trades.recv() => socket.send(Message::text(frame(trade.ok()?))).await.ok()?,
        }
    }
}

fn frame(id: i64) -> String {
    let time = 1_735_689_600_000_000 + id * 1000;
    format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{id},"p":"64000.10000000","q":"0.00100000","T":{time},"m":false,"M":true}}}}"#
    )
}

struct Producing {
    status: Arc<ProduceStatus>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<ticklake_ingest::Result<ProduceReport>>,
}

impl Producing {
    fn start(options: ProduceOptions) -> Self {
        let (status, shutdown) = (Arc::<ProduceStatus>::default(), CancellationToken::new());
        let task = tokio::spawn(produce::run(options, Clock::system(), status.clone(), shutdown.clone()));
        Self { status, shutdown, task }
    }

    async fn until(&self, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        let reached = async {
            while !condition(&self.status.snapshot()) {
                assert!(
                    !self.task.is_finished(),
                    "the producer ended while waiting until {what}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, reached).await;
        assert!(
            waited.is_ok(),
            "waited too long until {what}: {:#}",
            self.status.snapshot()
        );
    }

    async fn stop(self) -> ProduceReport {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }
}

fn compressed(kafka: &mut KafkaOptions) {
    for (name, value) in COMPRESSED {
        kafka.librdkafka.insert(name.to_owned(), value.to_owned());
    }
}

fn producing(brokers: &str, topic: &str, venue: &Venue) -> ProduceOptions {
    let mut kafka = KafkaOptions::new(brokers);
    compressed(&mut kafka);
    kafka
        .librdkafka
        .insert("queue.buffering.max.messages".to_owned(), "5000".to_owned());
    ProduceOptions {
        kafka,
        topic: topic.to_owned(),
        partitions: 3,
        feed: FeedOptions::Binance(BinanceOptions {
            symbols: vec!["BTC-USDT".to_owned()],
            ws_url: venue.url.clone(),
            stall: Duration::from_secs(2),
            reconnect: (Duration::from_millis(10), Duration::from_millis(50)),
            ..BinanceOptions::default()
        }),
        ..ProduceOptions::default()
    }
}

/// A member of a group: it also has a place to lose while it cannot commit.
fn ingesting(brokers: &str, topic: &str) -> BronzeOptions {
    let mut options = BronzeOptions {
        instance_id: Some("only".to_owned()),
        ..options(brokers, topic)
    };
    compressed(&mut options.kafka);
    for (name, value) in [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "15000")] {
        options.kafka.librdkafka.insert(name.to_owned(), value.to_owned());
    }
    options
}

fn number(status: &serde_json::Value, keys: &[&str]) -> i64 {
    keys.iter().fold(status, |value, key| &value[key]).as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_minutes_without_a_broker_cost_what_the_venue_said_meanwhile_and_nothing_else() {
    let (broker, topic) = (Broker::new(), "trades");
    let brokers = broker.start();
    let venue = Venue::open(2000).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let producer = Producing::start(producing(&brokers, topic, &venue));
    producer
        .until("trades flow", |status| number(status, &["delivered"]) > 1000)
        .await;
    let ingest = Running::start(&ingesting(&brokers, topic), &lake);
    ingest.until_recorded(2000).await;

    broker.kill();
    let ends = tokio::time::Instant::now() + OUTAGE;
    let told = |error: &serde_json::Value| error["message"].as_str().is_some_and(|message| !message.is_empty());
    ingest.until("ingest tells", |status| told(&status["last_error"])).await;
    producer
        .until("the producer tells", |status| told(&status["last_error"]))
        .await;
    producer
        .until("the feed has closed its socket", |status| {
            status["feed"]["state"] == "stalled" && number(status, &["feed", "stalls"]) == 1
        })
        .await;
    let held_back = producer.status.snapshot();
    let waiting = number(&held_back, &["waiting"]);
    // librdkafka's queue, ours of 16 batches, the one before and the one behind it.
    assert!(
        (5000..5000 + 18 * 1024 + 2).contains(&waiting),
        "bounded: {held_back:#}"
    );
    tokio::time::sleep_until(ends).await;
    let (before, after) = (held_back, producer.status.snapshot());
    assert_eq!(
        number(&before, &["feed", "trades"]),
        number(&after, &["feed", "trades"]),
        "no socket, no trades"
    );
    assert!(!ingest.is_finished(), "{:#}", ingest.status.snapshot());

    broker.start();
    producer
        .until("what waited is delivered", |status| {
            number(status, &["delivered"]) >= number(&after, &["feed", "trades"])
        })
        .await;
    producer
        .until("the feed is back and has counted its gap", |status| {
            status["feed"]["state"] == "running" && number(status, &["feed", "missed_ids"]) > 0
        })
        .await;
    let resumed = venue.newest();
    producer
        .until("new trades flow", |status| {
            number(status, &["delivered"]) > number(&after, &["delivered"]) + 5000
        })
        .await;
    let missed = producer.status.feed.recent_gaps();
    let ended = producer.status.snapshot();
    assert_eq!(
        (number(&ended, &["resent"]), number(&ended, &["renewals"])),
        (0, 0),
        "librdkafka gives nothing back, however long it takes: {ended:#}"
    );
    let report = producer.stop().await;
    assert_eq!((report.rejected, report.undelivered), (0, 0));
    ingest.until_recorded(report.delivered).await;
    ingest.stop().await;

    let gaps: Vec<_> = missed.iter().map(|gap| (gap.from_id, gap.to_id)).collect();
    assert_eq!(gaps.len(), 1, "one outage, one gap: {gaps:?}");
    assert!(gaps[0].1 <= resumed && gaps[0].1 - gaps[0].0 > 2000 * 10, "{gaps:?}");
    assert_all_but(&held(&lake, &TableName::bronze_trades()).await, gaps[0]);
}

/// Every trade between the first and the last, without a double, but for those of the gap.
fn assert_all_but(held: &Held, gap: (i64, i64)) {
    assert_eq!(held.doubles(), 0);
    let (first, last) = (
        *held.seqs.keys().next().unwrap(),
        *held.seqs.keys().next_back().unwrap(),
    );
    let expected: Vec<i64> = (first..gap.0).chain(gap.1..=last).collect();
    assert!(first < gap.0 && gap.1 < last, "trades on both sides of {gap:?}");
    assert_eq!(held.seqs.keys().copied().collect::<Vec<_>>(), expected);
    // An idempotent producer does not double by trying again.
    assert!(held.seqs.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_costs_nothing() {
    use crate::support::{assert_trades_once, send_trades};
    let (broker, topic) = (Broker::new(), "trades");
    let brokers = broker.start();
    crate::topics::create_at(&brokers, topic, 3, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let lake = lake(folder.path());
    let running = Running::start(&options(&brokers, topic), &lake);
    send_trades(&brokers, topic, 3, 0..1000);
    running.until_recorded(1000).await;
    for round in 1..=3u64 {
        broker.kill();
        running
            .until("the broker's absence shows", |status| !status["last_error"].is_null())
            .await;
        broker.start();
        send_trades(&brokers, topic, 3, round * 1000..(round + 1) * 1000);
        running.until_recorded((round + 1) * 1000).await;
    }
    running.stop().await;
    assert_trades_once(&lake, 0..4000).await;
}

//! A broker or a store that goes away under running roles: seen in `status`, held in bounded memory, made good by itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
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

const PARTITIONS: u64 = 4;
/// About a gigabyte: what a pipeline without bounds would hold.
const RECORDS: u64 = 450_000;
const PADDING_BYTES: usize = 2_000;
/// librdkafka's queue of 64 MB, a few flushes of 32 MB, and the process itself.
const MEMORY_BYTES: u64 = 500 << 20;

#[test]
fn a_store_that_is_away_leaves_ingest_within_its_memory_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let brokers =
        std::env::var("TICKLAKE_TEST_KAFKA").expect("TICKLAKE_TEST_KAFKA names a broker: run `.ci/run services`");
    let topic = format!("store-away-{}", uuid::Uuid::new_v4().simple());
    let s3 = Service::s3();
    let endpoint = s3.start();
    let role = || {
        let mut command = ticklake(folder);
        command
            .env("TICKLAKE_LAKE__URI", format!("s3://ticklake/{topic}"))
            .env("TICKLAKE_STORAGE__ENDPOINT", &endpoint)
            .env("TICKLAKE_STORAGE__REGION", "us-east-1")
            .env("TICKLAKE_STORAGE__ACCESS_KEY_ID", "ticklake")
            .env("TICKLAKE_STORAGE__SECRET_ACCESS_KEY", "ticklake-secret")
            .env("TICKLAKE_KAFKA__BOOTSTRAP_SERVERS", &brokers)
            .env("TICKLAKE_KAFKA__TOPIC", &topic)
            .env("TICKLAKE_INGEST__COMMIT_BYTES", "32MB");
        command
    };
    create(&brokers, &topic);
    send(&brokers, &topic, 0..1000);
    let mut ingest = Running::start(role().arg("ingest"));
    let until_committed = |records: u64| {
        eventually("all is committed", 3 * DEADLINE, || {
            let stage = stage(&report(role())?, "ingest")?;
            (stage["records"].as_u64()? == records).then_some(stage)
        })
    };
    until_committed(1000);

    s3.stop();
    send(&brokers, &topic, 1000..RECORDS);
    // Whatever it takes up it has taken up once its peak stands still.
    let mut peak = peak_bytes(ingest.id());
    eventually("the peak stands still", DEADLINE, || {
        std::thread::sleep(Duration::from_secs(2));
        let last = std::mem::replace(&mut peak, peak_bytes(ingest.id()));
        (peak == last).then_some(())
    });
    assert!(ingest.is_running(), "{}", ingest.said());
    s3.start();
    let stage = until_committed(RECORDS);
    assert!(stage["retries"].as_u64() > Some(0), "{stage}");
    assert!(stage["last_error"]["message"].is_string(), "{stage}");
    let peak = peak_bytes(ingest.id());
    assert!(peak < MEMORY_BYTES, "{} MB", peak >> 20);
    ingest.terminate();
    assert_each_once(role);
}

fn assert_each_once(role: impl Fn() -> Command) {
    let serve = Running::start(role().args(["serve", "--flight-addr", "127.0.0.1:0"]));
    let server = eventually("the server's address", DEADLINE, || {
        let said = serve.said();
        said.lines()
            .find_map(|line| Some(line.strip_prefix("flight sql on ")?.to_owned()))
    });
    let sql = "SELECT count(*), count(DISTINCT \"partition\" * 1000000000 + \"offset\"), count(DISTINCT seq), min(seq), max(seq) FROM bronze.trades";
    let counted = stdout(Path::new("."), &["query", "--server", &server, "--format", "csv", sql]);
    let last = RECORDS - 1;
    assert_eq!(
        counted.lines().nth(1),
        Some(format!("{RECORDS},{RECORDS},{RECORDS},0,{last}").as_str())
    );
    serve.terminate();
}

/// Most memory that process `id` has held so far.
fn peak_bytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn create(brokers: &str, topic: &str) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for made in runtime
        .block_on(admin.create_topics(&[topic], &AdminOptions::new()))
        .unwrap()
    {
        made.unwrap();
    }
}

fn send(brokers: &str, topic: &str, range: std::ops::Range<u64>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "20")
        .create()
        .unwrap();
    let noise = noise(16 << 20);
    for seq in range {
        let at = seq as usize * PADDING_BYTES % (noise.len() - PADDING_BYTES);
        let padding = &noise[at..at + PADDING_BYTES];
        let value = format!(
            r#"{{"venue":"test","symbol":"A-B","trade_id":"{seq}","seq":{seq},"price":"1.5","qty":"2","ts":{ts},"received_at":{ts},"source":"sim","padding":"{padding}"}}"#,
            ts = 1_735_689_600_000_000 + seq,
        );
        let record = || {
            BaseRecord::<str, str>::to(topic)
                .partition((seq % PARTITIONS) as i32)
                .payload(&value)
        };
        while let Err((error, _)) = producer.send(record()) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(DEADLINE).unwrap();
}

/// Text that does not compress away, by a xorshift generator: what waits encoded is then as large as it looks.
fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state >> 58) as u8)
    });
    letters.take(bytes).filter(|letter| *letter != '\\').collect()
}

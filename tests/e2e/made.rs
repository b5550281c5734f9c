//! A small lake that the roles have made: records sent to a broker, ingested and refreshed in rounds. On local disk, or wherever a place says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use ticklake_sql::{Clock, Durability, Lake, LakeOptions};

use crate::broker::Broker;
use crate::process::{Running, ticklake};

/// Rules under which nothing before 2025 is a trade.
pub const STRICT: (&str, &str) = ("TICKLAKE_SILVER__EARLIEST", "2025-01-01");
/// Trades of BTC-USDT, a second apart.
pub const TRADES: i64 = 600;

/// Where a lake lies, and what the binary has to know to reach it.
#[derive(Debug, Clone)]
pub struct Place {
    pub uri: String,
    env: Vec<(&'static str, String)>,
    /// What the table layer has to know.
    keys: BTreeMap<String, String>,
}

impl Place {
    pub fn folder(folder: &Path) -> Self {
        Self {
            uri: folder.to_str().unwrap().to_owned(),
            env: Vec::new(),
            keys: BTreeMap::new(),
        }
    }

    /// A prefix of the server that `TICKLAKE_TEST_S3_ENDPOINT` names.
    #[cfg(feature = "services")]
    pub fn s3(prefix: &str) -> Self {
        let endpoint =
            std::env::var("TICKLAKE_TEST_S3_ENDPOINT").expect("TICKLAKE_TEST_S3_ENDPOINT names an S3 server");
        let env = [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", "ticklake".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "ticklake-secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        let named = |(name, value): &(&str, String)| {
            let key = match *name {
                "AWS_ENDPOINT_URL" => "aws_endpoint".to_owned(),
                name => name.to_lowercase(),
            };
            (key, value.clone())
        };
        Self {
            uri: format!("s3://ticklake/{prefix}"),
            keys: env.iter().map(named).collect(),
            env: env.into(),
        }
    }

    /// A prefix of the Azurite that `AZURITE_BLOB_STORAGE_URL` names, which the client reads by itself.
    #[cfg(feature = "services")]
    pub fn azure(prefix: &str) -> Self {
        std::env::var("AZURITE_BLOB_STORAGE_URL").expect("AZURITE_BLOB_STORAGE_URL names an Azurite");
        let key = "azure_storage_use_emulator".to_owned();
        Self {
            uri: format!("az://ticklake/{prefix}"),
            env: vec![(
                "TICKLAKE_STORAGE__OPTIONS__AZURE_STORAGE_USE_EMULATOR",
                "true".to_owned(),
            )],
            keys: BTreeMap::from([(key, "true".to_owned())]),
        }
    }

    /// The same store at another address.
    pub fn at(&self, uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            env: self.env.clone(),
            keys: self.keys.clone(),
        }
    }

    /// The lake as the table layer opens it.
    pub fn lake(&self) -> Lake {
        let options = LakeOptions {
            durability: Durability::Os,
            storage: self.keys.clone().into(),
            ..LakeOptions::default()
        };
        Lake::open(&self.uri, options, Clock::system()).unwrap()
    }

    /// A command of the binary on this lake.
    pub fn command(&self, folder: &Path, args: &[&str]) -> Command {
        let mut command = ticklake(folder);
        command.envs(self.env.iter().cloned());
        command.args(args).args(["--lake", &self.uri]);
        command
    }

    /// stdout of a command on this lake that must succeed.
    pub fn stdout(&self, folder: &Path, args: &[&str]) -> String {
        let output = Running::start(&mut self.command(folder, args)).output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ticklake {args:?}: {} {stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exit code and report of a proof; `more` names the broker, where one is asked.
    pub fn verify(&self, folder: &Path, mode: &str, more: &[&str]) -> (Option<i32>, Value) {
        let args = [&["verify", "--mode", mode, "--format", "json"][..], more].concat();
        let output = Running::start(&mut self.command(folder, &args)).output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        (output.status.code(), report)
    }
}

pub struct Made {
    pub folder: tempfile::TempDir,
    pub broker: Broker,
    pub place: Place,
}

impl Made {
    /// On local disk.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::folder(&folder.path().join("lake"));
        Self::at(folder, place)
    }

    /// Records in two rounds, each ingested and refreshed: repeats within a round and across, a broken trade, dead letters.
    pub fn at(folder: tempfile::TempDir, place: Place) -> Self {
        let broker = Broker::start(folder.path());
        create_topic(&broker);
        let made = Self { folder, broker, place };
        let plain = |id: i64| trade(id, "100.5");
        let mut first: Vec<String> = (0..TRADES / 2).map(plain).collect();
        first.extend([plain(3), "no json".to_owned(), trade(TRADES + 7, "-1")]);
        made.send(&first);
        made.round();
        let mut second: Vec<String> = (TRADES / 2..TRADES).map(plain).collect();
        // Repeats of stored rows, a contradiction, its repeat, and an empty record.
        second.extend([plain(5), trade(6, "101"), trade(6, "101"), String::new()]);
        made.send(&second);
        made.round();
        made
    }

    pub fn send(&self, payloads: &[String]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.broker.addr)
            .create()
            .unwrap();
        for payload in payloads {
            producer
                .send(
                    BaseRecord::to(&self.broker.topic)
                        .partition(0)
                        .key("sim:BTC-USDT")
                        .payload(payload),
                )
                .unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    /// Merges files of any age; what the command said.
    pub fn optimize(&self) -> String {
        let mut optimize = self.place.command(self.folder.path(), &["optimize"]);
        let optimized = Running::start(optimize.env("TICKLAKE_OPTIMIZE__MIN_AGE", "1ms")).output();
        assert!(optimized.status.success());
        String::from_utf8(optimized.stdout).unwrap()
    }

    pub fn round(&self) {
        self.ingest();
        self.place.stdout(self.folder.path(), &["refresh"]);
    }

    /// A refresh by stricter rules than the usual ones: a release under those finds what these set aside.
    pub fn refresh_strictly(&self) {
        let mut refresh = self.place.command(self.folder.path(), &["refresh"]);
        let refreshed = Running::start(refresh.env(STRICT.0, STRICT.1)).output();
        assert!(refreshed.status.success());
    }

    pub fn ingest(&self) {
        let ingest = [&["ingest", "--until-latest", "--commit-rows", "100"][..], &self.kafka()].concat();
        self.place.stdout(self.folder.path(), &ingest);
    }

    fn kafka(&self) -> [&str; 4] {
        ["--bootstrap-servers", &self.broker.addr, "--topic", &self.broker.topic]
    }

    /// The folder of a lake on local disk.
    pub fn lake(&self) -> PathBuf {
        PathBuf::from(&self.place.uri)
    }

    /// Exit code and report of a proof of the lake in a folder.
    pub fn verify(&self, lake: &Path, mode: &str) -> (Option<i32>, Value) {
        self.verify_at(&Place::folder(lake), mode)
    }

    pub fn verify_at(&self, place: &Place, mode: &str) -> (Option<i32>, Value) {
        place.verify(self.folder.path(), mode, &self.kafka())
    }
}

/// Of one partition.
fn create_topic(broker: &Broker) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &broker.addr)
        .create()
        .unwrap();
    let topic = NewTopic::new(&broker.topic, 1, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let created = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    created.unwrap().pop().unwrap().unwrap();
}

/// At second `id` of 2025.
pub fn trade(id: i64, price: &str) -> String {
    trade_at(id, price, id)
}

pub fn trade_at(id: i64, price: &str, second: i64) -> String {
    let ts = 1_735_689_600_000_000 + second * 1_000_000;
    format!(
        r#"{{"venue":"sim","symbol":"BTC-USDT","kind":"trade","trade_id":"{id}","seq":{id},"price":"{price}","qty":"0.5","side":"buy","ts":{ts},"received_at":{ts},"source":"sim"}}"#
    )
}

//! Flags of what brings trades in: feeds, Kafka, historical files, and `up` with every stage at once.

use std::path::PathBuf;

use clap::Args;
use toml::Value;

use super::{LakeArgs, ServerArgs};
use crate::config::Overrides;
use crate::config::env::list;

#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// Kafka brokers, HOST:PORT,...
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_servers: Option<String>,
    /// Kafka topic of canonical trades
    #[arg(long)]
    pub topic: Option<String>,
}

impl KafkaArgs {
    pub fn put(&self, over: &mut Overrides) {
        over.flag(
            "kafka.bootstrap_servers",
            "--bootstrap-servers",
            self.bootstrap_servers.clone(),
        );
        over.flag("kafka.topic", "--topic", self.topic.clone());
    }
}

#[derive(Debug, Args)]
pub struct FeedArgs {
    /// sim, binance or replay=FILE
    #[arg(long)]
    pub feed: Option<String>,
    /// BTC-USDT,ETH-USDT,...
    #[arg(long)]
    pub symbols: Option<String>,
    /// Simulated trades a second
    #[arg(long)]
    pub rate: Option<u32>,
    /// Seed of the simulated trades
    #[arg(long)]
    pub seed: Option<u64>,
    /// Address of the venue's stream, ws:// or wss://
    #[arg(long, value_name = "URL")]
    pub feed_url: Option<String>,
    /// Replay at the recorded pace
    #[arg(long)]
    pub real_time: bool,
}

impl FeedArgs {
    pub fn put(&self, over: &mut Overrides) {
        over.flag("feed.name", "--feed", self.feed.clone());
        over.flag("feed.symbols", "--symbols", self.symbols.as_deref().map(list));
        over.flag("feed.rate", "--rate", self.rate.map(i64::from));
        over.flag(
            "feed.seed",
            "--seed",
            self.seed.and_then(|seed| i64::try_from(seed).ok()).map(Value::Integer),
        );
        over.flag("feed.url", "--feed-url", self.feed_url.clone());
        over.flag("feed.real_time", "--real-time", self.real_time.then_some(true));
    }
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Folder for the broker's log, the lake and ports.json
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub feed: FeedArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Embedded broker's listener; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_addr: Option<String>,
}

impl UpArgs {
    pub fn put(&self, over: &mut Overrides) {
        over.flag("up.data_dir", "--data-dir", self.data_dir.clone());
        over.flag("up.kafka_addr", "--kafka-addr", self.kafka_addr.clone());
        self.server.put(over);
        self.lake.put(over);
        self.kafka.put(over);
        self.feed.put(over);
    }
}

#[derive(Debug, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub feed: FeedArgs,
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Partitions of the topic where it has to be created
    #[arg(long)]
    pub partitions: Option<i32>,
}

impl ProduceArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        self.kafka.put(over);
        self.feed.put(over);
        over.flag("kafka.partitions", "--partitions", self.partitions.map(i64::from));
    }
}

#[derive(Debug, Args)]
pub struct IngestArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Consumer group
    #[arg(long)]
    pub group: Option<String>,
    /// Static member name, one for each of several instances
    #[arg(long, value_name = "NAME")]
    pub instance_id: Option<String>,
    /// Run to the end offsets seen at the start, then exit
    #[arg(long)]
    pub until_latest: bool,
    /// Commit at this many rows at the latest
    #[arg(long, value_name = "ROWS")]
    pub commit_rows: Option<u32>,
    /// Commit at this many bytes at the latest
    #[arg(long, value_name = "SIZE")]
    pub commit_bytes: Option<String>,
    /// Commit at this age at the latest
    #[arg(long, value_name = "DURATION")]
    pub commit_age: Option<String>,
    /// stop, earliest, latest or offset=N
    #[arg(long, value_name = "CHOICE")]
    pub on_lost_position: Option<String>,
}

impl IngestArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        self.kafka.put(over);
        over.flag("kafka.group", "--group", self.group.clone());
        over.flag("ingest.instance_id", "--instance-id", self.instance_id.clone());
        over.flag("ingest.commit_rows", "--commit-rows", self.commit_rows.map(i64::from));
        over.flag("ingest.commit_bytes", "--commit-bytes", self.commit_bytes.clone());
        over.flag("ingest.commit_age", "--commit-age", self.commit_age.clone());
        over.flag(
            "ingest.on_lost_position",
            "--on-lost-position",
            self.on_lost_position.clone(),
        );
    }
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Files, folders, globs (quoted) or addresses such as s3://bucket/prefix/*.zip; zip, gz, zst and plain
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// binance-trades, binance-aggtrades, us-equities-ticks, csv, jsonl or parquet
    #[arg(long, required_unless_present = "mapping")]
    pub format: Option<String>,
    /// A format of your own: one SELECT FROM raw, see sql/import/ for examples
    #[arg(long, value_name = "FILE.sql")]
    pub mapping: Option<PathBuf>,
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Venue of the trades where the format does not tell, or another than it says, e.g. binance-usdm
    #[arg(long)]
    pub venue: Option<String>,
    /// BASE-QUOTE where neither the rows nor the file's name tell
    #[arg(long)]
    pub symbol: Option<String>,
    /// A file that changed since it was loaded takes the place of what was loaded
    #[arg(long)]
    pub replace: bool,
    /// Bad lines of a file that are set aside before its load is given up
    #[arg(long, value_name = "ROWS", default_value_t = 10_000)]
    pub max_bad_rows: u64,
    /// Files that are read at once
    #[arg(long, value_name = "FILES", default_value_t = 2)]
    pub files_at_once: usize,
    /// Leave silver and gold to `ticklake run`
    #[arg(long)]
    pub no_refresh: bool,
}

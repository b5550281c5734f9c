//! The command line: what can be typed, and which setting each flag overrides.

mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use toml::Value;

use crate::config::Overrides;
use crate::config::env::list;
use crate::config::settings::LogFormat;

pub use server::{ServerArgs, ServerLogin, TokenArgs, TokenCommand, UserArgs, UserCommand};

/// Exchange trades into an open lakehouse, served over Arrow Flight SQL.
#[derive(Debug, Parser)]
#[command(name = "ticklake", version, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file [default: ./ticklake.toml where it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How log lines look on stderr
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process: broker, feed, lake, jobs and server
    Up(UpArgs),
    /// Feeds -> Kafka
    Produce(ProduceArgs),
    /// Kafka -> bronze
    Ingest(IngestArgs),
    /// The scheduled jobs
    Run(RunArgs),
    /// Bring silver or gold, or both, up to date once
    Refresh(RefreshArgs),
    /// Historical files -> bronze -> silver -> gold
    Backfill(BackfillArgs),
    /// The Flight SQL server
    Serve(ServeArgs),
    /// Ask a server and print the rows
    Query(QueryArgs),
    /// Where everything stands
    Status(StatusArgs),
    /// Records that did not decode
    Dlq(DlqArgs),
    /// Who may log in to the server
    User(UserArgs),
    /// Tokens that log in without a password
    Token(TokenArgs),
    /// The configuration as it will be used
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
pub struct LakeArgs {
    /// A folder or s3://bucket/prefix
    #[arg(long, value_name = "URI")]
    pub lake: Option<String>,
}

#[derive(Debug, Args)]
pub struct KafkaArgs {
    /// Kafka brokers, HOST:PORT,...
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_servers: Option<String>,
    /// Kafka topic of canonical trades
    #[arg(long)]
    pub topic: Option<String>,
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

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    Silver,
    Gold,
}

#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// Only this layer [default: silver, then gold]
    #[arg(value_enum)]
    pub layer: Option<Layer>,
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Files, folders, globs (quoted) or s3://bucket/prefix/*.zip; zip, gz, zst and plain
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

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Csv,
    Json,
    Arrow,
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    /// One SQL statement
    pub sql: String,
    /// csv, json (a line a row) and arrow (an IPC stream) are written as they arrive
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,
    #[command(flatten)]
    pub login: ServerLogin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    pub command: DlqCommand,
}

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// Newest first
    List(DlqListArgs),
}

#[derive(Debug, Args)]
pub struct DlqListArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Only this error class, e.g. not_json
    #[arg(long)]
    pub class: Option<String>,
    /// Only this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<i32>,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Exit 0 where the configuration is right, 2 where it is not
    Check,
    /// Every key with its value; secrets are masked
    Show,
}

impl Cli {
    /// The settings that this command line changes.
    pub fn overrides(&self) -> Overrides {
        let mut over = Overrides::default();
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        over.flag("log.format", "--log-format", format);
        match &self.command {
            Command::Up(args) => {
                over.flag("up.data_dir", "--data-dir", args.data_dir.clone());
                over.flag("up.kafka_addr", "--kafka-addr", args.kafka_addr.clone());
                args.server.put(&mut over);
                args.lake.put(&mut over);
                args.kafka.put(&mut over);
                args.feed.put(&mut over);
            }
            Command::Produce(args) => {
                args.lake.put(&mut over);
                args.kafka.put(&mut over);
                args.feed.put(&mut over);
                over.flag("kafka.partitions", "--partitions", args.partitions.map(i64::from));
            }
            Command::Ingest(args) => args.put(&mut over),
            Command::Run(args) => args.lake.put(&mut over),
            Command::Refresh(args) => args.lake.put(&mut over),
            Command::Backfill(args) => args.lake.put(&mut over),
            Command::Serve(args) => {
                args.lake.put(&mut over);
                args.server.put(&mut over);
            }
            Command::Query(args) => args.login.put(&mut over),
            Command::Status(args) => {
                args.lake.put(&mut over);
                args.kafka.put(&mut over);
            }
            Command::Dlq(DlqArgs {
                command: DlqCommand::List(args),
            }) => args.lake.put(&mut over),
            Command::User(args) => args.put(&mut over),
            Command::Token(args) => args.put(&mut over),
            Command::Config(_) => {}
        }
        over
    }
}

impl LakeArgs {
    fn put(&self, over: &mut Overrides) {
        over.flag("lake.uri", "--lake", self.lake.clone());
    }
}

impl KafkaArgs {
    fn put(&self, over: &mut Overrides) {
        over.flag(
            "kafka.bootstrap_servers",
            "--bootstrap-servers",
            self.bootstrap_servers.clone(),
        );
        over.flag("kafka.topic", "--topic", self.topic.clone());
    }
}

impl FeedArgs {
    fn put(&self, over: &mut Overrides) {
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

impl IngestArgs {
    fn put(&self, over: &mut Overrides) {
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

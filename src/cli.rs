//! The command line: what can be typed, and which setting each flag overrides.

mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use toml::Value;

use crate::config::Overrides;
use crate::config::env::list;
use crate::config::settings::LogFormat;

pub use server::{
    QueriesArgs, QueriesCommand, ServerArgs, ServerLogin, TokenArgs, TokenCommand, UserArgs, UserCommand,
};

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
    /// What the scheduled jobs did last, and when they run next
    Jobs(JobsArgs),
    /// Bring silver or gold, or both, up to date once
    Refresh(RefreshArgs),
    /// Historical files -> bronze -> silver -> gold
    Backfill(BackfillArgs),
    /// Merge small files now
    Optimize(OptimizeArgs),
    /// Delete the files that no version inside the time-travel window needs
    Vacuum(VacuumArgs),
    /// Compute a range of silver and gold again from its input, whatever is there
    Rebuild(RebuildArgs),
    /// The Flight SQL server
    Serve(ServeArgs),
    /// Ask a server and print the rows
    Query(QueryArgs),
    /// What runs on a server, and stopping it
    Queries(QueriesArgs),
    /// Where everything stands
    Status(StatusArgs),
    /// Prove that nothing was lost or doubled
    Verify(VerifyArgs),
    /// Hold our bars against a venue's own candles
    Parity(ParityArgs),
    /// Copy the lake, or some of its tables, as it is now
    Backup(BackupArgs),
    /// Copy a backup back, or set one table back
    Restore(RestoreArgs),
    /// Records that did not decode
    Dlq(DlqArgs),
    /// Trades that broke a rule
    Quarantine(QuarantineArgs),
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
    /// Only say what each job would touch
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[derive(Debug, Args)]
pub struct JobsArgs {
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
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
pub struct OptimizeArgs {
    /// Only these tables, e.g. silver.trades [default: all]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Only say what would be merged
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[derive(Debug, Args)]
pub struct VacuumArgs {
    /// Only these tables, e.g. silver.trades [default: all]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// List every file now, whenever that was done last
    #[arg(long)]
    pub full: bool,
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Versions of this age can still be read
    #[arg(long, value_name = "DURATION")]
    pub time_travel: Option<String>,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Start of the range of trade time: a date or an instant, UTC
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// End of the range, which is not in it
    #[arg(long, value_name = "TIME")]
    pub to: String,
    /// Only these symbols
    #[arg(long, value_delimiter = ',', value_name = "SYMBOL")]
    pub symbol: Vec<String>,
    /// Only this layer [default: silver, then gold]
    #[arg(long, value_enum)]
    pub layer: Option<Layer>,
    /// Also where retention has removed input: what was made of it goes
    #[arg(long)]
    pub force: bool,
    /// Into tables beside, TABLE__rebuild_ID; what differs is told, and they are swapped in unless the range has changed since
    #[arg(long)]
    pub side: bool,
    /// With --side: swap nothing in, and leave the tables beside to be looked at; a later --side removes those older than a day
    #[arg(long, requires = "side")]
    pub dry_run: bool,
    #[command(flatten)]
    pub lake: LakeArgs,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyMode {
    /// Reads every file and computes every bar again
    Full,
    /// Reads logs and listings, for every hour
    Cheap,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[arg(long, value_enum, default_value_t = VerifyMode::Full)]
    pub mode: VerifyMode,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Debug, Args)]
pub struct ParityArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// CSV or JSON: Binance's columns, time,open,high,low,close,volume, or CSV with a header; files (zip, gz, zst, plain), or the http(s) address
    /// of one
    #[arg(long, value_name = "FILE|URL", num_args = 1.., required = true)]
    pub candles: Vec<String>,
    /// How their rows are read; us-equities-minutes lie beside the ticks of that backfill format
    #[arg(long, value_enum, default_value_t = CandleFormat::Auto)]
    pub candle_format: CandleFormat,
    /// Market of the candles, e.g. binance-spot
    #[arg(long)]
    pub venue: String,
    /// e.g. BTC-USDT
    #[arg(long)]
    pub symbol: String,
    /// Width of the candles, as in the gold table's name
    #[arg(long, default_value = "1m")]
    pub interval: String,
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CandleFormat {
    Auto,
    UsEquitiesMinutes,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A folder or s3://bucket/prefix; what an earlier backup brought there is not copied again
    pub to: String,
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Only these, e.g. bronze.trades,silver.trades
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["from", "version", "at"]))]
pub struct RestoreArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// The backup to copy into a lake that does not go beyond it
    #[arg(long, value_name = "URI")]
    pub from: Option<String>,
    /// Only these of the backup; with --version or --at the one table to set back
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
    /// Set the table back to this version of it
    #[arg(long, requires = "tables")]
    pub version: Option<u64>,
    /// Set the table back to this time, e.g. 2026-11-21T10:00:00Z
    #[arg(long, requires = "tables", value_name = "TIME")]
    pub at: Option<String>,
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
    /// One record with all that the lake kept of it
    Show(DlqShowArgs),
    /// Decode again; what decodes now moves to bronze.trades
    Retry(DlqSelectArgs),
    /// Empty them: their coordinates stay, key and payload go
    Drop(DlqSelectArgs),
}

#[derive(Debug, Args)]
pub struct DlqShowArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[arg(long)]
    pub partition: i32,
    #[arg(long)]
    pub offset: i64,
    /// Only this topic
    #[arg(long)]
    pub topic: Option<String>,
}

/// At least one of them, or all.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["all", "class", "topic", "partition"]))]
pub struct DlqSelectArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Every dead letter
    #[arg(long, conflicts_with_all = ["class", "topic", "partition", "offset"])]
    pub all: bool,
    /// Only this error class, e.g. not_json
    #[arg(long)]
    pub class: Option<String>,
    /// Only this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// Only this partition
    #[arg(long)]
    pub partition: Option<i32>,
    /// Only this offset
    #[arg(long, requires = "partition")]
    pub offset: Option<i64>,
}

impl DlqCommand {
    fn lake(&self) -> &LakeArgs {
        match self {
            Self::List(args) => &args.lake,
            Self::Show(args) => &args.lake,
            Self::Retry(args) | Self::Drop(args) => &args.lake,
        }
    }
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
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Newest first
    List(QuarantineListArgs),
    /// Judge again by the rules as they are now; what breaks none enters silver
    Release(QuarantineReleaseArgs),
}

#[derive(Debug, Args)]
pub struct QuarantineReleaseArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Only what this rule set aside
    #[arg(long)]
    pub rule: Option<String>,
}

#[derive(Debug, Args)]
pub struct QuarantineListArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Only this rule, e.g. price_inexact
    #[arg(long)]
    pub rule: Option<String>,
    /// Only this symbol
    #[arg(long)]
    pub symbol: Option<String>,
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
            Command::Jobs(args) => args.lake.put(&mut over),
            Command::Refresh(args) => args.lake.put(&mut over),
            Command::Backfill(args) => args.lake.put(&mut over),
            Command::Optimize(args) => args.lake.put(&mut over),
            Command::Vacuum(args) => {
                args.lake.put(&mut over);
                over.flag("vacuum.time_travel", "--time-travel", args.time_travel.clone());
            }
            Command::Rebuild(args) => args.lake.put(&mut over),
            Command::Serve(args) => {
                args.lake.put(&mut over);
                args.server.put(&mut over);
            }
            Command::Query(args) => args.login.put(&mut over),
            Command::Queries(args) => args.put(&mut over),
            Command::Status(args) => {
                args.lake.put(&mut over);
                args.kafka.put(&mut over);
            }
            Command::Verify(args) => {
                args.lake.put(&mut over);
                args.kafka.put(&mut over);
            }
            Command::Parity(args) => args.lake.put(&mut over),
            Command::Backup(args) => args.lake.put(&mut over),
            Command::Restore(args) => args.lake.put(&mut over),
            Command::Dlq(args) => args.command.lake().put(&mut over),
            Command::Quarantine(args) => match &args.command {
                QuarantineCommand::List(args) => args.lake.put(&mut over),
                QuarantineCommand::Release(args) => args.lake.put(&mut over),
            },
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

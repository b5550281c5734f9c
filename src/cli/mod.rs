//! The command line: what can be typed, and which setting each flag overrides.

mod checks;
mod ingest;
mod jobs;
mod maintenance;
mod server;
mod set_aside;
mod users;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;
use crate::config::settings::LogFormat;

pub use checks::{CandleFormat, ParityArgs, StatusArgs, VerifyArgs, VerifyMode};
pub use ingest::{BackfillArgs, IngestArgs, KafkaArgs, ProduceArgs, UpArgs};
pub use jobs::{JobsArgs, Layer, RebuildArgs, RefreshArgs, RunArgs};
pub use maintenance::{BackupArgs, OptimizeArgs, RestoreArgs, VacuumArgs};
pub use server::{OutputFormat, QueriesArgs, QueriesCommand, QueryArgs, ServeArgs, ServerArgs, ServerLogin};
pub use set_aside::{
    DlqArgs, DlqCommand, DlqListArgs, DlqSelectArgs, DlqShowArgs, QuarantineArgs, QuarantineCommand, QuarantineListArgs,
};
pub use users::{TokenArgs, TokenCommand, UserArgs, UserCommand};

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
            Command::Up(args) => args.put(&mut over),
            Command::Produce(args) => args.put(&mut over),
            Command::Ingest(args) => args.put(&mut over),
            Command::Run(args) => args.lake.put(&mut over),
            Command::Jobs(args) => args.lake.put(&mut over),
            Command::Refresh(args) => args.lake.put(&mut over),
            Command::Backfill(args) => args.lake.put(&mut over),
            Command::Optimize(args) => args.lake.put(&mut over),
            Command::Vacuum(args) => args.put(&mut over),
            Command::Rebuild(args) => args.lake.put(&mut over),
            Command::Serve(args) => args.put(&mut over),
            Command::Query(args) => args.login.put(&mut over),
            Command::Queries(args) => args.put(&mut over),
            Command::Status(args) => args.put(&mut over),
            Command::Verify(args) => args.put(&mut over),
            Command::Parity(args) => args.lake.put(&mut over),
            Command::Backup(args) => args.lake.put(&mut over),
            Command::Restore(args) => args.lake.put(&mut over),
            Command::Dlq(args) => args.put(&mut over),
            Command::Quarantine(args) => args.put(&mut over),
            Command::User(args) => args.put(&mut over),
            Command::Token(args) => args.put(&mut over),
            Command::Config(_) => {}
        }
        over
    }
}

#[derive(Debug, Args)]
pub struct LakeArgs {
    /// A folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
    #[arg(long, value_name = "URI")]
    pub lake: Option<String>,
}

impl LakeArgs {
    pub fn put(&self, over: &mut Overrides) {
        over.flag("lake.uri", "--lake", self.lake.clone());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Table,
    Json,
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

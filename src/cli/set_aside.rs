//! Flags of what was set aside: dead letters and quarantine.

use clap::{ArgGroup, Args, Subcommand};

use super::{LakeArgs, ReportFormat};
use crate::config::Overrides;

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

impl DlqArgs {
    pub fn put(&self, over: &mut Overrides) {
        let lake = match &self.command {
            DlqCommand::List(args) => &args.lake,
            DlqCommand::Show(args) => &args.lake,
            DlqCommand::Retry(args) | DlqCommand::Drop(args) => &args.lake,
        };
        lake.put(over);
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
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["all", "class", "topic", "partition"]))]
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

impl QuarantineArgs {
    pub fn put(&self, over: &mut Overrides) {
        match &self.command {
            QuarantineCommand::List(args) => args.lake.put(over),
            QuarantineCommand::Release(args) => args.lake.put(over),
        }
    }
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
pub struct QuarantineReleaseArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Only what this rule set aside
    #[arg(long)]
    pub rule: Option<String>,
}

//! Flags of the jobs: those that the schedule runs, one now, a range again.

use clap::{Args, ValueEnum};

use super::{LakeArgs, ReportFormat};

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
pub struct RebuildArgs {
    /// Start of the range of trade time: a date or an instant, UTC
    #[arg(long, value_name = "TIME", required_unless_present = "swap")]
    pub from: Option<String>,
    /// End of the range, which is not in it
    #[arg(long, value_name = "TIME", required_unless_present = "swap")]
    pub to: Option<String>,
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
    /// Swap in what an earlier --side --dry-run has left in TABLE__rebuild_ID, unless the range has changed since
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "symbol", "side", "force"])]
    pub swap: Option<String>,
    #[command(flatten)]
    pub lake: LakeArgs,
}

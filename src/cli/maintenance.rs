//! Flags of what looks after the lake's files: merging, deleting, copying, setting back.

use clap::{ArgGroup, Args};

use super::{LakeArgs, ReportFormat};
use crate::config::Overrides;

#[derive(Debug, Args)]
pub struct OptimizeArgs {
    /// Only these tables, e.g. silver.trades [default: all]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// First rewrite tables that are partitioned otherwise than lake.partition_columns says, and files that are not in their table's order
    #[arg(long)]
    pub cluster: bool,
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

impl VacuumArgs {
    pub fn put(&self, over: &mut Overrides) {
        self.lake.put(over);
        over.flag("vacuum.time_travel", "--time-travel", self.time_travel.clone());
    }
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A folder, or an address in a bucket; what an earlier backup brought there is not copied again
    pub to: String,
    #[command(flatten)]
    pub lake: LakeArgs,
    /// Only these, e.g. bronze.trades,silver.trades
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["from", "version", "at"]))]
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

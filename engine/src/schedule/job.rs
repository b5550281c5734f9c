//! What the schedule can run, and its settings.

use std::time::Duration;

use ticklake_sql::{Lake, Table, TableName};

use super::compare::Compare;
use super::every::Every;
use super::maintain::Maintain;
use crate::Result;
use crate::error::Step;
use crate::gold::GoldOptions;
use crate::silver::SilverOptions;
use crate::status::CHECKS;
use crate::verify::VerifyOptions;

/// The first optimize of a lake that never had one takes its time.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);

#[derive(Debug, Clone)]
pub enum Job {
    /// Refresh silver from bronze.
    Silver(SilverOptions),
    /// Refresh the bars of one interval from silver.
    Gold(GoldOptions),
    /// Write due checkpoints and clean up the logs of every table.
    Checkpoint,
    /// Look after the files of every table.
    Maintain(Maintain),
    /// Run the statements of `sql/checks/` and keep what they find in system.checks.
    Checks(VerifyOptions),
    /// Hold bars against venues' own candles and keep what differs in system.parity.
    Parity(Vec<Compare>),
}

/// Waits before a run that failed with what may pass is tried again: the first, then each twice as long, up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, Clone)]
pub struct JobOptions {
    /// Unique; shown in `ticklake status` and in logs.
    pub name: String,
    pub job: Job,
    pub every: Every,
    /// Also run as soon as this process commits to the input.
    pub wake_on_commit: bool,
    /// A due time is put off by a random part of this, so that many processes do not run at once.
    pub jitter: Duration,
    /// A run that takes longer is stopped and started afresh.
    pub timeout: Duration,
    pub retry: Retry,
}

impl JobOptions {
    pub fn silver(options: SilverOptions, every: Every) -> Self {
        Self::new("silver".into(), Job::Silver(options), every)
    }

    pub fn gold(options: GoldOptions, every: Every) -> Self {
        Self::new(format!("gold-{}", options.interval), Job::Gold(options), every)
    }

    pub fn checkpoint(every: Every) -> Self {
        Self::new("checkpoint".into(), Job::Checkpoint, every)
    }

    pub fn maintain(job: Maintain, every: Every) -> Self {
        let name = match job {
            Maintain::Optimize(_) => "optimize",
            Maintain::Vacuum(_) => "vacuum",
            Maintain::Retention(_) => "retention",
        };
        Self {
            timeout: MAINTENANCE_TIMEOUT,
            ..Self::new(name.into(), Job::Maintain(job), every)
        }
    }

    pub fn checks(options: VerifyOptions, every: Every) -> Self {
        Self::new(CHECKS.into(), Job::Checks(options), every)
    }

    pub fn parity(compares: Vec<Compare>, every: Every) -> Self {
        Self::new("parity".into(), Job::Parity(compares), every)
    }

    fn new(name: String, job: Job, every: Every) -> Self {
        Self {
            name,
            job,
            every,
            wake_on_commit: true,
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(60 * 60),
            retry: Retry::default(),
        }
    }
}

impl Job {
    pub(super) fn input(&self) -> Option<TableName> {
        match self {
            Self::Silver(_) => Some(TableName::bronze_trades()),
            Self::Gold(_) => Some(TableName::silver_trades()),
            Self::Checkpoint | Self::Maintain(_) | Self::Checks(_) | Self::Parity(_) => None,
        }
    }

    /// The tables that the job commits to, made where they are missing: a holder that is shut out must not make them.
    pub(super) async fn targets(&self, lake: &Lake) -> Result<Vec<Table>> {
        let named = match self {
            Self::Silver(_) => vec![TableName::silver_quarantine(), TableName::silver_trades()],
            Self::Gold(options) => vec![
                TableName::gold_ohlcv_revisions(),
                TableName::gold_ohlcv(&options.interval),
            ],
            Self::Checkpoint => Vec::new(),
            Self::Maintain(_) => return lake.tables().await.step("list the tables of the lake"),
            Self::Checks(_) => vec![TableName::system_checks()],
            Self::Parity(_) => vec![TableName::system_parity()],
        };
        let mut tables = Vec::new();
        for name in named {
            tables.push(lake.create_table(&name).await.step("open a table of a job")?);
        }
        Ok(tables)
    }
}

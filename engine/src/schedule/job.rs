//! What the schedule can run, and its settings.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use ticklake_sql::{Lake, Table, TableName};
use tokio_util::sync::CancellationToken;

use super::checkpoint::Checkpoint;
use super::every::Every;
use super::maintain::Maintain;
use super::runner::{Runner, Work};
use crate::error::Step;
use crate::gold::{Gold, GoldOptions};
use crate::silver::{Silver, SilverOptions};
use crate::status::CHECKS;
use crate::verify::{self, VerifyOptions};
use crate::{EngineStatus, RefreshReport, Result};

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

    fn new(name: String, job: Job, every: Every) -> Self {
        Self {
            name,
            job,
            every,
            wake_on_commit: true,
            jitter: Duration::ZERO,
            timeout: Duration::from_secs(60 * 60),
        }
    }
}

impl Job {
    fn input(&self) -> Option<TableName> {
        match self {
            Self::Silver(_) => Some(TableName::bronze_trades()),
            Self::Gold(_) => Some(TableName::silver_trades()),
            Self::Checkpoint | Self::Maintain(_) | Self::Checks(_) => None,
        }
    }
}

/// Runs one job until `shutdown`.
pub(super) async fn keep_running(
    lake: Lake,
    options: JobOptions,
    status: Arc<EngineStatus>,
    shutdown: CancellationToken,
) {
    let jitter_ms = u64::try_from(options.jitter.as_millis()).unwrap_or(u64::MAX);
    let mut runner = Runner {
        name: options.name,
        every: options.every,
        jitter: Box::new(move || Duration::from_millis(rand::rng().random_range(0..=jitter_ms))),
        timeout: options.timeout,
        clock: lake.clock().clone(),
        status: status.clone(),
        shutdown,
    };
    let mut body = Body {
        input: None,
        open: None,
        job: options.job,
        status,
        lake,
        wake_on_commit: options.wake_on_commit,
        read_to: None,
    };
    runner.run(&mut body).await;
}

/// A job with what it keeps open between runs. Dropped after a failure, so that the next run starts from what the tables say.
struct Body {
    lake: Lake,
    job: Job,
    status: Arc<EngineStatus>,
    wake_on_commit: bool,
    input: Option<Table>,
    open: Option<Open>,
    read_to: Option<u64>,
}

enum Open {
    Silver(Box<Silver>),
    Gold(Box<Gold>),
    Checkpoint(Checkpoint),
    Maintain(Maintain),
    Checks(VerifyOptions),
}

#[async_trait]
impl Work for Body {
    async fn run(&mut self) -> Result<Option<RefreshReport>> {
        if self.input.is_none()
            && let Some(input) = self.job.input()
        {
            self.input = Some(self.lake.create_table(&input).await.step("open the input of a job")?);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match &self.job {
                Job::Silver(options) => Open::Silver(Box::new(Silver::open(self.lake.clone(), options.clone()).await?)),
                Job::Gold(options) => Open::Gold(Box::new(Gold::open(self.lake.clone(), options.clone()).await?)),
                Job::Checkpoint => Open::Checkpoint(Checkpoint::new(self.lake.clone())),
                Job::Maintain(maintain) => Open::Maintain(maintain.clone()),
                Job::Checks(options) => Open::Checks(options.clone()),
            },
        };
        let report = match &mut open {
            Open::Silver(silver) => Some(silver.refresh().await?),
            Open::Gold(gold) => Some(gold.refresh().await?),
            Open::Checkpoint(checkpoint) => {
                checkpoint.run().await?;
                None
            }
            Open::Maintain(maintain) => {
                maintain.run(&self.lake).await?;
                None
            }
            Open::Checks(options) => {
                let results = verify::check_and_record(&self.lake, options).await?;
                self.status.checked(&results);
                None
            }
        };
        self.read_to = report.as_ref().and_then(|report| report.input_to).or(self.read_to);
        self.open = Some(open);
        Ok(report)
    }

    fn committed(&self) -> Option<tokio::sync::watch::Receiver<u64>> {
        self.input
            .as_ref()
            .filter(|_| self.wake_on_commit)
            .map(Table::committed)
    }

    async fn behind(&self) -> Option<u64> {
        let newest = self.input.as_ref()?.latest_version(self.read_to).await.ok()?;
        Some(newest - self.read_to.map_or(0, |read_to| read_to.min(newest)))
    }
}

//! A job at work: its lease, what it keeps open between runs, and what one run does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use ticklake_sql::error::chain;
use ticklake_sql::{ErrorKind, Lake, Lease, Table};
use tokio_util::sync::CancellationToken;

use super::checkpoint::Checkpoint;
use super::compare::{Compare, compare};
use super::history::History;
use super::job::{Job, JobOptions};
use super::lease::{Hold, Holder, Standing, fence};
use super::maintain::Maintain;
use super::outcome::{Outcome, Ran};
use super::runner::{Runner, Work};
use crate::error::Step;
use crate::gold::Gold;
use crate::silver::Silver;
use crate::verify::{self, VerifyOptions};
use crate::{EngineStatus, Error, Result};

/// Runs one job until `shutdown`, while this process holds its lease.
pub async fn keep_running(
    lake: Lake,
    options: JobOptions,
    holder: Holder,
    history: Arc<History>,
    status: Arc<EngineStatus>,
    shutdown: CancellationToken,
) {
    let jitter_ms = u64::try_from(options.jitter.as_millis()).unwrap_or(u64::MAX);
    let mut body = Body {
        hold: Hold::new(holder.clone(), options.name.clone()),
        holder,
        lease: None,
        is_running: false,
        input: None,
        open: None,
        job: options.job,
        status: status.clone(),
        lake: lake.clone(),
        wake_on_commit: options.wake_on_commit,
        read_to: None,
    };
    let mut runner = Runner {
        name: options.name,
        every: options.every,
        jitter: Box::new(move || Duration::from_millis(rand::rng().random_range(0..=jitter_ms))),
        timeout: options.timeout,
        retry: options.retry,
        clock: lake.clock().clone(),
        status,
        history,
        shutdown,
    };
    runner.run(&mut body).await;
    body.end().await;
}

/// A job with what it keeps open between runs. Dropped after a failure, so that the next run starts from what the tables say.
struct Body {
    lake: Lake,
    job: Job,
    holder: Holder,
    hold: Hold,
    /// What `open` commits under.
    lease: Option<Lease>,
    /// A run that was cut off leaves it true.
    is_running: bool,
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
    Parity(Vec<Compare>),
}

impl Body {
    /// One run under the lease that this process holds.
    async fn work(&mut self, lake: Lake) -> Result<Ran> {
        if self.input.is_none()
            && let Some(input) = self.job.input()
        {
            self.input = Some(lake.create_table(&input).await.step("open the input of a job")?);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open(lake.clone()).await?,
        };
        let ran = match &mut open {
            Open::Silver(silver) => Ran::refreshed(silver.refresh().await?),
            Open::Gold(gold) => Ran::refreshed(gold.refresh().await?),
            Open::Checkpoint(checkpoint) => {
                let mut ran = Ran::default();
                ran.files(checkpoint.run().await?, 0);
                ran
            }
            Open::Maintain(maintain) => maintain.run(&lake).await?,
            Open::Checks(options) => {
                let results = verify::check_and_record(&lake, options).await?;
                self.status.checked(&results);
                Ran {
                    rows_out: results.iter().map(|result| result.rows).sum(),
                    effect: true,
                    ..Ran::default()
                }
            }
            Open::Parity(compares) => compare(&lake, compares).await?,
        };
        self.read_to = ran.input_to.or(self.read_to);
        self.open = Some(open);
        Ok(ran)
    }

    async fn open(&self, lake: Lake) -> Result<Open> {
        Ok(match &self.job {
            Job::Silver(options) => Open::Silver(Box::new(Silver::open(lake, options.clone()).await?)),
            Job::Gold(options) => Open::Gold(Box::new(Gold::open(lake, options.clone()).await?)),
            Job::Checkpoint => Open::Checkpoint(Checkpoint::new(lake)),
            Job::Maintain(maintain) => Open::Maintain(maintain.clone()),
            Job::Checks(options) => Open::Checks(options.clone()),
            Job::Parity(compares) => Open::Parity(compares.clone()),
        })
    }

    /// What is open commits under the lease that it was opened under.
    fn change_lease(&mut self, lease: &Lease) {
        let is_same = |held: &Lease| held.token() == lease.token() && held.is_held();
        if !self.lease.as_ref().is_some_and(is_same) {
            self.open = None;
            self.lease = Some(lease.clone());
        }
    }

    /// A run that was cut off may still have a request under way: its lease is left to the next holder, who shuts it out.
    async fn end(&mut self) {
        if !self.is_running {
            self.hold.end().await;
        }
    }
}

#[async_trait]
impl Work for Body {
    async fn run(&mut self) -> Result<Outcome> {
        let (lease, must_fence) = match self.hold.stand().await? {
            Standing::Holds { lease, fence } => (lease, fence),
            Standing::Waits { by } => {
                (self.open, self.lease) = (None, None);
                let again = self.holder.beat();
                return Ok(Outcome::StoodBy { by, again });
            }
        };
        self.change_lease(&lease);
        let lake = self.lake.under(lease);
        if must_fence {
            fence(&self.job.targets(&lake).await?).await?;
            self.hold.fenced();
        }
        self.is_running = true;
        let mut ran = self.work(lake.clone()).await;
        if ran.as_ref().is_err_and(is_repartitioned) {
            // What the failed run had open is dropped: from here on the table is as it is now.
            tracing::info!("a table is partitioned otherwise now, and opened again");
            ran = self.work(lake).await;
        }
        self.is_running = false;
        match ran {
            Ok(ran) => Ok(Outcome::Ran(Box::new(ran))),
            Err(error) if error.kind() == ErrorKind::Lease => {
                let error_text = chain(&error);
                tracing::warn!(error = error_text, "a job goes to another process");
                self.hold.lost(recorded(&error));
                Ok(Outcome::StoodBy {
                    by: "a process that has taken the job over".to_owned(),
                    again: self.holder.beat() / 4,
                })
            }
            Err(error) => Err(error),
        }
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

fn is_repartitioned(error: &Error) -> bool {
    matches!(error, Error::Sql { source, .. } if matches!(**source, ticklake_sql::Error::Repartitioned { .. }))
}

/// The token that stands in the log which refused the commit.
fn recorded(error: &Error) -> Option<i64> {
    match error {
        Error::Sql { source, .. } => match &**source {
            ticklake_sql::Error::LeaseLost { recorded, .. } => *recorded,
            _ => None,
        },
        _ => None,
    }
}

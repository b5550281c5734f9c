//! The schedule: each job in a task of its own, run when it is due or when its input was committed to, never over itself, in whichever process,
//! and started again after whatever went wrong. One job's trouble never stops another.
//!
//! Reading order: `every` says when, `job` says what, `runner` puts the two together; `lease` lets one process of several run a job, `body` runs
//! it under its lease, `outcome` says what a run did, `history` keeps that in system.jobs; `checkpoint` is the job that looks after the logs,
//! `maintain` those that look after the files, `compare` the one that holds bars against candles; `dry_run` says what a job would touch.

mod body;
mod checkpoint;
mod compare;
mod dry_run;
mod every;
mod history;
mod job;
mod lease;
mod maintain;
mod outcome;
mod runner;

use std::sync::Arc;
use std::time::Duration;

use ticklake_sql::Lake;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use checkpoint::Checkpoint;
pub use compare::{Compare, Fetch};
pub use dry_run::{Touched, dry_run};
pub use every::Every;
pub use job::{Job, JobOptions, Retry};
pub use maintain::{Keep, Maintain};
pub(crate) use outcome::Ran;

use crate::{EngineStatus, Error, Result};
use history::History;
use lease::Holder;

/// Shorter ones are lost to a slow request, longer ones keep the jobs of a dead machine waiting.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// Of the schedule as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleOptions {
    /// A process that is not heard of for so long loses its jobs to another.
    pub lease: Duration,
    /// How long system.jobs keeps a row.
    pub history: Duration,
    /// Its rows are written no more often than this.
    pub history_every: Duration,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            history: Duration::from_secs(30 * 24 * 3600),
            history_every: Duration::from_secs(60),
        }
    }
}

/// Runs the jobs until `shutdown`; then each one ends its run, in a few seconds at most. Settings are checked before anything starts.
pub async fn run(
    lake: Lake,
    jobs: Vec<JobOptions>,
    options: ScheduleOptions,
    status: Arc<EngineStatus>,
    shutdown: CancellationToken,
) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    if let Some(twice) = jobs.iter().find(|job| !names.insert(job.name.clone())) {
        return Err(Error::Invalid(format!(
            "two jobs are named {}: give each its own name",
            twice.name
        )));
    }
    if !LEASES.contains(&options.lease) {
        return Err(Error::Invalid(format!(
            "a lease of {:?} is too short or too long; write one from 100 ms to an hour, such as \"30s\"",
            options.lease
        )));
    }
    let holder = Holder::new(&lake, options.lease);
    let history = Arc::new(History::new(holder.process().name()));
    let ended = CancellationToken::new();
    let mut upkeep = JoinSet::new();
    upkeep.spawn(holder.clone().keep(ended.clone()));
    let (every, kept) = (options.history_every, options.history);
    upkeep.spawn(history.clone().keep(lake.clone(), every, kept, ended.clone()));

    let mut tasks = JoinSet::new();
    for options in jobs {
        tasks.spawn(body::keep_running(
            lake.clone(),
            options,
            holder.clone(),
            history.clone(),
            status.clone(),
            shutdown.clone(),
        ));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a job's task ended early");
        }
    }
    ended.cancel();
    while upkeep.join_next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;

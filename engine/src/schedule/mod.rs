//! The schedule: each job in a task of its own, run when it is due or when its input was committed to, never over itself, and started again
//! after whatever went wrong. One job's trouble never stops another.
//!
//! Reading order: `every` says when, `job` says what, `runner` puts the two together; `checkpoint` is the job that looks after the logs,
//! `maintain` those that look after the files.

mod checkpoint;
mod every;
mod job;
mod maintain;
mod runner;

use std::sync::Arc;

use ticklake_sql::Lake;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use checkpoint::Checkpoint;
pub use every::Every;
pub use job::{Job, JobOptions};
pub use maintain::{Keep, Maintain};

use crate::{EngineStatus, Error, Result};

/// Runs the jobs until `shutdown`; then each one ends its run, in a few seconds at most. Settings are checked before anything starts.
pub async fn run(
    lake: Lake,
    jobs: Vec<JobOptions>,
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
    let mut tasks = JoinSet::new();
    for options in jobs {
        tasks.spawn(job::keep_running(
            lake.clone(),
            options,
            status.clone(),
            shutdown.clone(),
        ));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a job's task ended early");
        }
    }
    Ok(())
}

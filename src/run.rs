//! `ticklake run`: the scheduled jobs until a signal comes; with `--dry-run` what each would touch now.

use std::sync::Arc;

use ticklake_engine::{EngineStatus, schedule};
use ticklake_sql::{Durability, Lake};

use crate::cli::RunArgs;
use crate::config::Settings;
use crate::exit::sentence;
use crate::heartbeat::Heartbeat;
use crate::{jobs, maintenance, options, shutdown};

pub async fn run(settings: &Settings, args: &RunArgs) -> anyhow::Result<()> {
    let jobs = jobs::all(settings, maintenance::ON_A_SERVER)?;
    let lake = options::lake(settings, Durability::Sync)?;
    if args.dry_run {
        return dry_run(&lake, &jobs).await;
    }
    let shutdown = shutdown::on_signal()?;
    lake.probe().await?;
    let status = Arc::new(EngineStatus::default());
    let shown = status.clone();
    let heartbeat = Heartbeat::start(&lake, "run", vec![("jobs", Arc::new(move || shown.snapshot()))]);
    let ended = schedule::run(lake, jobs, jobs::schedule_options(settings), status, shutdown).await;
    heartbeat.stop().await;
    ended?;
    Ok(())
}

/// One job's trouble never hides what the others would do.
#[allow(clippy::print_stdout)]
async fn dry_run(lake: &Lake, jobs: &[schedule::JobOptions]) -> anyhow::Result<()> {
    let mut first_error = None;
    for job in jobs {
        match schedule::dry_run(lake, &job.job).await {
            Ok(touched) if touched.is_empty() => println!("{:<12} nothing to do", job.name),
            Ok(touched) => {
                for one in touched {
                    println!("{:<12} {}: {}", job.name, one.table, one.what);
                }
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                println!("{:<12} cannot tell: {}", job.name, sentence(&error));
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

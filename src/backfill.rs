//! `ticklake backfill`: files into bronze; silver and gold are refreshed beside it, by the jobs that refresh them always.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use ticklake_engine::backfill::{self, BackfillOptions, BackfillReport, FileReport, Outcome, Progress};
use ticklake_engine::gold::Gold;
use ticklake_engine::silver::Silver;
use ticklake_sql::error::chain;
use ticklake_sql::{Durability, ErrorKind, Lake};
use tokio_util::sync::CancellationToken;

use crate::cli::BackfillArgs;
use crate::config::Settings;
use crate::{jobs, options, shutdown};

const BAR: &str = "{bar:30} {percent:>3}% {msg}, {eta} left";
const BAR_INTERVAL: Duration = Duration::from_millis(200);
/// How often a line is logged where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub async fn run(args: &BackfillArgs, settings: &Settings) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    let stop = shutdown::on_signal()?;
    lake.probe().await?;
    let options = BackfillOptions {
        paths: args.paths.clone(),
        format: args.format.clone(),
        mapping: args.mapping.clone(),
        venue: args.venue.clone(),
        symbol: args.symbol.clone(),
        replace: args.replace,
        max_bad_rows: args.max_bad_rows,
        storage: options::storage(settings)?,
        files_at_once: args.files_at_once,
        ..BackfillOptions::default()
    };
    let (progress, loaded) = (Arc::new(Progress::default()), CancellationToken::new());
    let shown = tokio::spawn(show(progress.clone(), loaded.clone()));
    let refreshed = (!args.no_refresh).then(|| tokio::spawn(follow(lake.clone(), settings.clone(), loaded.clone())));
    let report = backfill::run(&lake, options, progress, stop.clone()).await;
    loaded.cancel();
    shown.await?;
    let refreshed = match refreshed {
        Some(refreshed) => refreshed.await?,
        None => Ok(()),
    };
    let report = report?;
    tell(&report);
    refreshed?;
    judge(&report)
}

/// Refreshes silver whenever bronze has grown, and once more when everything is loaded; then gold, which is cheap at the end.
async fn follow(lake: Lake, settings: Settings, loaded: CancellationToken) -> anyhow::Result<()> {
    let mut silver = Silver::open(lake.clone(), jobs::silver_options(&settings.silver)?).await?;
    let mut committed = silver.input().committed();
    let mut last = false;
    while !last {
        last = loaded.is_cancelled();
        match silver.refresh().await {
            Ok(_) => {}
            // `ticklake run` works on the same lake: it brings silver up itself.
            Err(error) if error.kind() == ErrorKind::Retry && !last => {
                tracing::warn!(%error, "silver is not refreshed now");
            }
            Err(error) => return Err(error.into()),
        }
        if !last {
            tokio::select! {
                _ = committed.changed() => {}
                () = loaded.cancelled() => {}
            }
        }
    }
    for options in jobs::gold_options(&settings.jobs)? {
        Gold::open(lake.clone(), options).await?.refresh().await?;
    }
    Ok(())
}

/// A bar on a terminal, a log line now and then elsewhere.
async fn show(progress: Arc<Progress>, loaded: CancellationToken) {
    let started = Instant::now();
    let on_terminal = std::io::stderr().is_terminal();
    let bar = if on_terminal {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    let interval = if on_terminal { BAR_INTERVAL } else { LOG_INTERVAL };
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = loaded.cancelled() => break,
        }
        let counts = progress.counts();
        let rate = (counts.rows as f64 / started.elapsed().as_secs_f64()) as u64;
        if on_terminal {
            bar.set_length(counts.bytes);
            bar.set_position(counts.bytes_read);
            bar.set_message(format!(
                "file {} of {}, {} rows, {rate} rows/s, {} bad",
                (counts.files_done + 1).min(counts.files),
                counts.files,
                counts.rows,
                counts.bad
            ));
        } else {
            let left_s = left_s(counts.bytes, counts.bytes_read, started.elapsed());
            tracing::info!(
                files_done = counts.files_done,
                files = counts.files,
                rows = counts.rows,
                rows_per_s = rate,
                bad = counts.bad,
                left_s,
                "loading"
            );
        }
    }
    bar.finish_and_clear();
}

/// Seconds until everything is read, at the pace so far.
fn left_s(bytes: u64, read: u64, elapsed: Duration) -> Option<u64> {
    (read > 0).then(|| (elapsed.as_secs_f64() * (bytes - read) as f64 / read as f64) as u64)
}

#[allow(clippy::print_stdout)]
fn tell(report: &BackfillReport) {
    for file in &report.files {
        println!("{}", line(file));
        for (line, why) in &file.first_bad {
            println!("  line {line}: {why}");
        }
        let more = file.bad.saturating_sub(file.first_bad.len() as u64);
        if more > 0 {
            println!("  and {more} more in bronze.dead_letters");
        }
    }
    println!(
        "{} files, {} rows, {} bad",
        report.files.len(),
        report.rows(),
        report.bad()
    );
}

fn line(file: &FileReport) -> String {
    let FileReport { address, rows, bad, .. } = file;
    let what = match &file.outcome {
        Outcome::Loaded => format!("{rows} rows, {bad} bad"),
        Outcome::AlreadyLoaded => "already loaded".to_owned(),
        Outcome::Changed { loaded_sha256 } => {
            format!("has changed since sha256 {loaded_sha256} was loaded; --replace loads it in its place")
        }
        Outcome::Replaced {
            from: Some(from),
            until: Some(until),
        } => format!(
            "{rows} rows, {bad} bad, in the place of the old ones; `ticklake rebuild --from {from} --to {until}` takes those out of silver too"
        ),
        Outcome::Replaced { .. } => format!("{rows} rows, {bad} bad, in the place of the old ones"),
        Outcome::Stopped => format!("{rows} rows, {bad} bad, stopped: the next run goes on"),
        Outcome::Failed(error) => format!("{rows} rows, {bad} bad, then failed: {}", chain(error)),
    };
    let damage = if file.is_damaged { "; the file is damaged" } else { "" };
    format!("{address}: {what}{damage}")
}

/// Not everything is in bronze that should be.
fn judge(report: &BackfillReport) -> anyhow::Result<()> {
    let (failed, changed) = (report.failed().count(), report.changed().count());
    let stopped = report
        .files
        .iter()
        .filter(|file| matches!(file.outcome, Outcome::Stopped))
        .count();
    if failed + changed + stopped == 0 {
        return Ok(());
    }
    let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let parts: Vec<String> = [
        count(failed, "failed or are damaged"),
        count(changed, "have changed since they were loaded"),
        count(stopped, "were stopped"),
    ]
    .into_iter()
    .flatten()
    .collect();
    bail!("of {} files {}", report.files.len(), parts.join(", "))
}

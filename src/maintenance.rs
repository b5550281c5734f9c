//! Settings of the maintenance jobs, for the schedule and for the commands that run one now.

use std::time::Duration;

use ticklake_engine::maintenance::{OptimizeOptions, VacuumOptions};
use ticklake_engine::schedule::{JobOptions, Keep, Maintain};
use ticklake_sql::{History, Lake, Table, TableName, tables};

use crate::config::Settings;
use crate::config::settings::AUTO;
use crate::config::units::parse_span;
use crate::exit::Usage;
use crate::jobs::every;

/// A query reads the version that it began with, and a ticket may wait before it is asked for.
const BEYOND_QUERIES: Duration = Duration::from_secs(3600);

/// How long replaced files stay where the settings say `auto`.
#[derive(Debug, Clone, Copy)]
pub struct Replaced {
    vacuum_every: &'static str,
    /// Of tables made here; `None`: as their definitions say.
    history: Option<History>,
    /// The log outlives removed files by so much: two runs of vacuum.
    log_margin: Duration,
}

/// A lake that many read: an old version can be looked into for days.
pub const ON_A_SERVER: Replaced = Replaced {
    vacuum_every: "1d",
    history: None,
    log_margin: Duration::from_secs(2 * 24 * 3600),
};

/// A lake of one's own, on a laptop's disk: each half second brings files to every table and replaces those of the bars' open hour, which
/// makes gigabytes a day, and checkpoints repeat what was removed.
const OF_UP: Replaced = Replaced {
    vacuum_every: "1h",
    history: Some(History {
        removed_files: Duration::from_secs(2 * 3600),
        log: Duration::from_secs(4 * 3600),
    }),
    log_margin: Duration::from_secs(2 * 3600),
};

/// `up` may also be pointed at a lake that it shares.
pub fn in_up(settings: &Settings) -> Replaced {
    match settings.lake.uri.is_empty() {
        true => OF_UP,
        false => ON_A_SERVER,
    }
}

/// The jobs that are switched on.
pub fn jobs(settings: &Settings, replaced: Replaced) -> anyhow::Result<Vec<JobOptions>> {
    let jobs = &settings.jobs;
    let vacuum_every = match jobs.vacuum.as_str() {
        AUTO => replaced.vacuum_every,
        every => every,
    };
    let listed = [
        (
            "optimize",
            jobs.optimize.as_str(),
            Maintain::Optimize(optimize(settings)),
        ),
        ("vacuum", vacuum_every, Maintain::Vacuum(vacuum(settings)?)),
        (
            "retention",
            jobs.retention.as_str(),
            Maintain::Retention(keep(settings)?),
        ),
    ];
    listed
        .into_iter()
        .filter(|(_, schedule, _)| !schedule.is_empty())
        .map(|(key, schedule, job)| Ok(JobOptions::maintain(job, every(key, schedule)?)))
        .collect()
}

pub fn optimize(settings: &Settings) -> OptimizeOptions {
    let optimize = &settings.optimize;
    OptimizeOptions {
        target_bytes: optimize.target_size.0,
        min_age: optimize.min_age.0,
        spill_dir: (!optimize.spill_dir.is_empty()).then(|| optimize.spill_dir.clone().into()),
        ..OptimizeOptions::default()
    }
}

/// What `vacuum.time_travel` says of tables that are still to be made.
pub fn history(settings: &Settings, replaced: Replaced) -> anyhow::Result<Option<History>> {
    Ok(match time_travel(settings)? {
        Some(removed_files) => Some(History {
            removed_files,
            log: removed_files.saturating_add(replaced.log_margin),
        }),
        None => replaced.history,
    })
}

/// `None`: as long as each table keeps removed files, five days at most.
fn time_travel(settings: &Settings) -> anyhow::Result<Option<Duration>> {
    match settings.vacuum.time_travel.as_str() {
        AUTO => Ok(None),
        text => match parse_span(text) {
            Ok(span) => Ok(Some(span.0)),
            Err(why) => Err(Usage(format!("vacuum.time_travel: {why}")).into()),
        },
    }
}

pub fn vacuum(settings: &Settings) -> anyhow::Result<VacuumOptions> {
    Ok(VacuumOptions {
        time_travel: time_travel(settings)?,
        floor: settings.serve.query_timeout.0 + BEYOND_QUERIES,
        full_every: Some(settings.vacuum.full_every.0),
        ..VacuumOptions::default()
    })
}

/// Table -> how long its rows stay.
fn keep(settings: &Settings) -> anyhow::Result<Keep> {
    let retention = &settings.retention;
    let mut keep = Keep::from([
        (TableName::bronze_trades(), retention.raw.0),
        (TableName::bronze_dead_letters(), retention.raw.0),
    ]);
    for interval in &settings.jobs.intervals {
        keep.insert(TableName::gold_ohlcv(interval), retention.bars.0);
    }
    for (name, time) in &retention.tables {
        let wrong = |why: String| Usage(format!("retention.tables {name:?}: {why}"));
        let table = TableName::parse(name)
            .and_then(|table| tables::spec(&table).map(|_| table))
            .map_err(|error| wrong(error.to_string()))?;
        keep.insert(table, parse_span(time).map_err(wrong)?.0);
    }
    Ok(keep)
}

/// The tables of the lake, and those of them that `names` chooses; all where it names none.
pub async fn chosen(lake: &Lake, names: &[String]) -> anyhow::Result<(Vec<Table>, Vec<Table>)> {
    let all = lake.tables().await?;
    let mut chosen = Vec::new();
    for name in names {
        let name = TableName::parse(name)?;
        chosen.push(lake.table(&name).await?);
    }
    if names.is_empty() {
        chosen.clone_from(&all);
    }
    Ok((all, chosen))
}

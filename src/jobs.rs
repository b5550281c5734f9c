//! The scheduled jobs as the configuration names them, for `run`, `up` and `jobs`; and one round of them for `refresh`.

use std::collections::BTreeMap;

use ticklake_engine::RefreshReport;
use ticklake_engine::gold::{Gold, GoldOptions, Interval, KeepRevisions, PriceRule, Session};
use ticklake_engine::schedule::{Every, JobOptions, Retry, ScheduleOptions};
use ticklake_engine::silver::rules::Rules;
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_engine::verify::VerifyOptions;
use ticklake_sql::Durability;
use ticklake_sql::prices::RULES;

use crate::cli::Layer;
use crate::config::Settings;
use crate::config::keys::nearest;
use crate::config::settings::{JobSettings, RevisionsSetting, SilverSettings};
use crate::config::units::parse_span;
use crate::exit::Usage;
use crate::maintenance::Replaced;
use crate::{maintenance, options, parity};

/// The rule of a venue whose trades all set prices.
const ALL_PRICES: &str = "all";
/// The session of a venue whose daily bars are days in UTC.
const UTC_DAYS: &str = "utc";

/// `replaced`: how long replaced files stay where the settings leave it to the role.
pub fn all(settings: &Settings, replaced: Replaced) -> anyhow::Result<Vec<JobOptions>> {
    let silver = every("silver", &settings.jobs.silver)?;
    let gold = every("gold", &settings.jobs.gold)?;
    let checkpoint = every("checkpoint", &settings.jobs.checkpoint)?;
    let mut jobs = vec![JobOptions::silver(silver_options(&settings.silver)?, silver)];
    for options in gold_options(&settings.jobs)? {
        jobs.push(JobOptions::gold(options, gold.clone()));
    }
    jobs.push(JobOptions::checkpoint(checkpoint));
    jobs.extend(maintenance::jobs(settings, replaced)?);
    if !settings.jobs.checks.is_empty() {
        let checks = every("checks", &settings.jobs.checks)?;
        jobs.push(JobOptions::checks(verify_options(settings)?, checks));
    }
    if !settings.jobs.parity.is_empty() {
        let parity = every("parity", &settings.jobs.parity)?;
        jobs.push(JobOptions::parity(parity::compares(settings)?, parity));
    }
    let retry = Retry {
        first: settings.jobs.retry_delay.0,
        longest: settings.jobs.retry_delay_max.0,
    };
    for job in &mut jobs {
        job.jitter = settings.jobs.jitter.0;
        job.retry = retry;
    }
    timeouts(&settings.jobs, &mut jobs)?;
    Ok(jobs)
}

fn timeouts(settings: &JobSettings, jobs: &mut [JobOptions]) -> anyhow::Result<()> {
    for (name, time) in &settings.timeouts {
        let wrong = |why: String| Usage(format!("jobs.timeouts {name:?}: {why}"));
        let time = parse_span(time).map_err(wrong)?;
        let names: Vec<_> = jobs.iter().map(|job| job.name.clone()).collect();
        let Some(job) = jobs.iter_mut().find(|job| job.name == *name) else {
            let near = nearest(name, names.iter().map(String::as_str)).unwrap_or("silver");
            return Err(wrong(format!("there is no such job, or it is off; did you mean {near:?}?")).into());
        };
        job.timeout = time.0;
    }
    Ok(())
}

pub fn schedule_options(settings: &Settings) -> ScheduleOptions {
    ScheduleOptions {
        lease: settings.jobs.lease.0,
        history: settings.jobs.history.0,
        ..ScheduleOptions::default()
    }
}

pub fn every(key: &str, text: &str) -> anyhow::Result<Every> {
    Every::parse(text).map_err(|error| Usage(format!("jobs.{key}: {error}")).into())
}

fn rules(settings: &SilverSettings) -> anyhow::Result<Rules> {
    let earliest = settings.earliest.parse().map_err(|_| {
        Usage(format!(
            "silver.earliest {:?} is no date; write it as YYYY-MM-DD, such as \"2009-01-01\"",
            settings.earliest
        ))
    })?;
    Ok(Rules {
        earliest,
        ts_ahead: settings.ts_ahead.0,
    })
}

pub fn silver_options(settings: &SilverSettings) -> anyhow::Result<SilverOptions> {
    Ok(SilverOptions {
        rules: rules(settings)?,
        ..SilverOptions::default()
    })
}

pub fn gold_options(settings: &JobSettings) -> anyhow::Result<Vec<GoldOptions>> {
    let revisions = match settings.revisions {
        RevisionsSetting::Closed => KeepRevisions::Closed,
        RevisionsSetting::All => KeepRevisions::All,
        RevisionsSetting::None => KeepRevisions::None,
    };
    let (prices, sessions) = (prices(&settings.prices)?, sessions(&settings.sessions)?);
    let of_interval = |interval: &String| -> anyhow::Result<GoldOptions> {
        Interval::parse(interval).map_err(|error| Usage(format!("jobs.intervals: {error}")))?;
        Ok(GoldOptions {
            interval: interval.clone(),
            kinds: settings.kinds.clone(),
            prices: prices.clone(),
            sessions: sessions.clone(),
            revisions,
            allowed_lateness: settings.allowed_lateness.0,
            ..GoldOptions::default()
        })
    };
    settings.intervals.iter().map(of_interval).collect()
}

/// The rules of prices by venue; a venue whose rule is `all` has none.
fn prices(settings: &BTreeMap<String, String>) -> anyhow::Result<BTreeMap<String, PriceRule>> {
    let named = settings.iter().filter(|(_, rule)| *rule != ALL_PRICES);
    let rule = |(venue, name): (&String, &String)| -> anyhow::Result<(String, PriceRule)> {
        if let Some(shipped) = PriceRule::shipped(name) {
            return Ok((venue.clone(), shipped));
        }
        let shipped: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
        let sql = std::fs::read_to_string(name).map_err(|error| {
            Usage(format!(
                "jobs.prices.{venue} {name:?} is no shipped rule ({}), not {ALL_PRICES:?}, and no file that can be read: {error}",
                shipped.join(", ")
            ))
        })?;
        Ok((venue.clone(), PriceRule::new(name, &sql)))
    };
    named.map(rule).collect()
}

/// The sessions by venue; a venue whose days are those of UTC has none.
fn sessions(settings: &BTreeMap<String, String>) -> anyhow::Result<BTreeMap<String, Session>> {
    let named = settings.iter().filter(|(_, session)| *session != UTC_DAYS);
    let session = |(venue, text): (&String, &String)| -> anyhow::Result<(String, Session)> {
        let session = Session::parse(text).map_err(|error| Usage(format!("jobs.sessions.{venue}: {error}")))?;
        Ok((venue.clone(), session))
    };
    named.map(session).collect()
}

/// What a proof must know of how silver and gold are made.
pub fn verify_options(settings: &Settings) -> anyhow::Result<VerifyOptions> {
    Ok(VerifyOptions {
        rules: rules(&settings.silver)?,
        gold: gold_options(&settings.jobs)?,
        ..VerifyOptions::default()
    })
}

/// `ticklake refresh [silver|gold]`: up to the newest version of the input, once.
pub async fn refresh(settings: &Settings, layer: Option<Layer>) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    lake.probe().await?;
    if layer != Some(Layer::Gold) {
        let options = silver_options(&settings.silver)?;
        tell(&Silver::open(lake.clone(), options).await?.refresh().await?);
    }
    if layer != Some(Layer::Silver) {
        for options in gold_options(&settings.jobs)? {
            tell(&Gold::open(lake.clone(), options).await?.refresh().await?);
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
pub fn tell(report: &RefreshReport) {
    let version = report
        .version
        .map_or("no new version".to_owned(), |version| format!("version {version}"));
    println!(
        "{}: {} rows in, {} out, {} quarantined, {} repeats, {version}",
        report.table, report.rows_in, report.rows_out, report.quarantined, report.repeats
    );
}

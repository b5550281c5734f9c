//! `ticklake rebuild`: a range of trade time again from its input, silver first, then each gold.

use chrono::{DateTime, NaiveDate, NaiveTime};
use ticklake_engine::gold::GoldOptions;
use ticklake_engine::rebuild::{self, Beside, RebuildRange, Swap};
use ticklake_engine::silver::SilverOptions;
use ticklake_sql::{Durability, Lake};

use crate::cli::{Layer, RebuildArgs};
use crate::config::Settings;
use crate::exit::Usage;
use crate::{jobs, options};

pub async fn run(settings: &Settings, args: &RebuildArgs) -> anyhow::Result<()> {
    let (from_us, until_us) = (instant("--from", &args.from)?, instant("--to", &args.to)?);
    let range = RebuildRange::new(from_us, until_us, &args.symbol)?;
    let (silver, gold) = (
        jobs::silver_options(&settings.silver)?,
        jobs::gold_options(&settings.jobs)?,
    );
    let lake = options::lake(settings, Durability::Sync)?;
    lake.probe().await?;
    if args.side {
        return beside(&lake, args, &range, &silver, gold).await;
    }
    if args.layer != Some(Layer::Gold) {
        jobs::tell(&rebuild::silver(&lake, &silver, &range, args.force).await?);
    }
    if args.layer != Some(Layer::Silver) {
        for options in gold {
            jobs::tell(&rebuild::gold(&lake, options, &range, args.force).await?);
        }
    }
    Ok(())
}

/// `--side`: each table's result beside it, what differs, and the swap.
async fn beside(
    lake: &Lake,
    args: &RebuildArgs,
    range: &RebuildRange,
    silver: &SilverOptions,
    gold: Vec<GoldOptions>,
) -> anyhow::Result<()> {
    for left_over in rebuild::clean(lake).await? {
        tracing::info!(table = %left_over, "the result of an earlier rebuild is removed");
    }
    let id = lake.clock().now().format("%Y%m%dT%H%M%S%6f").to_string();
    let swap = if args.dry_run { Swap::No } else { Swap::In };
    if args.layer != Some(Layer::Gold) {
        tell(&rebuild::silver_beside(lake, silver, range, args.force, &id, swap).await?);
    }
    if args.layer != Some(Layer::Silver) {
        for options in gold {
            tell(&rebuild::gold_beside(lake, options, range, args.force, &id, swap).await?);
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn tell(beside: &Beside) {
    let diff = &beside.diff;
    let fields: Vec<String> = diff
        .by_field
        .iter()
        .map(|(field, count)| format!("{field} {count}"))
        .collect();
    let fields = if fields.is_empty() {
        String::new()
    } else {
        format!(" ({})", fields.join(", "))
    };
    println!(
        "{}: {} rows before, {} after: {} added, {} removed, {} changed{fields}",
        beside.table, diff.rows_before, diff.rows_after, diff.added, diff.removed, diff.changed
    );
    match (&beside.kept, beside.swapped.as_ref().and_then(|report| report.version)) {
        (Some(kept), _) => println!("  in {kept}, not swapped in"),
        (None, Some(version)) => println!("  swapped in, version {version}"),
        (None, None) => println!("  nothing to swap in"),
    }
}

/// A date stands for its first instant, UTC.
fn instant(flag: &str, text: &str) -> anyhow::Result<i64> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| {
        Usage(format!(
            "{flag} {text:?} is no time; write a date such as 2026-11-26 or an instant such as 2026-11-26T14:30:00Z"
        ))
    })?;
    Ok(instant.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_instants_are_times() {
        assert_eq!(instant("--from", "1970-01-02").unwrap(), 86_400_000_000);
        assert_eq!(instant("--from", "1970-01-01T01:00:00.5+01:00").unwrap(), 500_000);
        let error = instant("--to", "yesterday").unwrap_err().to_string();
        assert!(error.contains("--to") && error.contains("2026-11-26"), "{error}");
    }
}

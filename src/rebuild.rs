//! `ticklake rebuild`: a range of trade time again from its input, silver first, then each gold.

use chrono::{DateTime, NaiveDate, NaiveTime};
use ticklake_engine::gold::GoldOptions;
use ticklake_engine::rebuild::{self, Beside, RebuildRange, Swap};
use ticklake_engine::silver::SilverOptions;
use ticklake_sql::{Durability, Lake, TableName};

use crate::cli::{Layer, RebuildArgs};
use crate::config::Settings;
use crate::exit::Usage;
use crate::{jobs, options};

pub async fn run(settings: &Settings, args: &RebuildArgs) -> anyhow::Result<()> {
    let (silver, gold) = (
        jobs::silver_options(&settings.silver)?,
        jobs::gold_options(&settings.jobs)?,
    );
    let lake = options::lake(settings, Durability::Sync)?;
    lake.probe().await?;
    if let Some(id) = &args.swap {
        return swap(&lake, args.layer, id, &silver, gold).await;
    }
    let time = |flag, text: &Option<String>| instant(flag, text.as_deref().unwrap_or_default());
    let range = RebuildRange::new(time("--from", &args.from)?, time("--to", &args.to)?, &args.symbol)?;
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
    // Small letters and digits: a name that SQL takes as it is.
    let id = lake.clock().now().format("%Y%m%d_%H%M%S%6f").to_string();
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

/// `--swap`: what lies beside since an earlier `--side --dry-run`, silver first. Bars that lie beside were made of silver as it was then: where silver's
/// rows change, gold's range is made of them instead.
#[allow(clippy::print_stdout)]
async fn swap(
    lake: &Lake,
    layer: Option<Layer>,
    id: &str,
    silver: &SilverOptions,
    gold: Vec<GoldOptions>,
) -> anyhow::Result<()> {
    let beside = rebuild::beside_of(lake, id).await?;
    if beside.is_empty() {
        let others = rebuild::ids(lake).await?;
        let others = match others.is_empty() {
            true => "there is none".to_owned(),
            false => format!("there is {}", others.join(", ")),
        };
        return Err(Usage(format!("no result of a rebuild {id} lies beside a table: {others}")).into());
    }
    let mut silver_changed = None;
    if layer != Some(Layer::Gold)
        && let Some(range) = rebuild::range_of(lake, &TableName::silver_trades(), id).await?
        && let Some(swapped) = rebuild::silver_swap(lake, silver, id).await?
    {
        tell(&swapped);
        let has_changed = swapped.swapped.is_some_and(|report| report.version.is_some());
        silver_changed = has_changed.then_some(range);
    }
    if layer == Some(Layer::Silver) {
        return Ok(());
    }
    for options in gold {
        let table = TableName::gold_ohlcv(&options.interval);
        match &silver_changed {
            Some(range) => {
                if beside.contains(&table) {
                    lake.drop_rebuilt(&table.rebuilt(id)).await?;
                    println!("{table}: what lay beside was made of silver as it was before, and is made again");
                }
                jobs::tell(&rebuild::gold(lake, options, range, true).await?);
            }
            None => {
                if let Some(swapped) = rebuild::gold_swap(lake, options, id).await? {
                    tell(&swapped);
                }
            }
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
        (Some(kept), _) => println!(
            "  in {kept}, not swapped in: look at it, then `ticklake rebuild --swap {}`",
            kept.of_rebuilt().map_or("", |(_, id)| id)
        ),
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

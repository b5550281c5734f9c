//! `ticklake parity`: our bars against a venue's own candles, differences by field into system.parity; exit code 3 where there are some.

use anyhow::Context;
use serde_json::json;
use ticklake_engine::parity::{self, Parity, ParityOptions};
use ticklake_engine::silver::rules::utc;
use ticklake_sql::Lake;

use crate::cli::{ParityArgs, ReportFormat};
use crate::exit::Differences;

/// Differences shown in a printed table; system.parity has all.
const SHOWN: usize = 20;

pub async fn run(args: &ParityArgs, lake: &Lake) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.candles)
        .with_context(|| format!("cannot read the candles in {}", args.candles.display()))?;
    let candles = parity::parse(&text)?;
    let options = ParityOptions {
        source: args.candles.display().to_string(),
        venue: args.venue.clone(),
        symbol: args.symbol.clone(),
        interval: args.interval.clone(),
    };
    let found = parity::parity(lake, &candles, &options).await?;
    tell(args, &found)?;
    match found.differences.len() {
        0 => Ok(()),
        count => Err(Differences(count as u64).into()),
    }
}

#[allow(clippy::print_stdout)]
fn tell(args: &ParityArgs, found: &Parity) -> anyhow::Result<()> {
    if args.format == ReportFormat::Json {
        let difference = |difference: &parity::FieldDifference| {
            json!({
                "window_start": utc(difference.window_start_us),
                "field": difference.field,
                "ours": difference.ours,
                "theirs": difference.theirs,
            })
        };
        let differences: Vec<_> = found.differences.iter().map(difference).collect();
        let report = json!({ "candles": found.candles, "by_field": found.by_field(), "differences": differences });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{} {} {}: {} candles",
        args.venue, args.symbol, args.interval, found.candles
    );
    for (field, count) in found.by_field() {
        println!("{field}: {count} differ");
    }
    for difference in found.differences.iter().take(SHOWN) {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let (ours, theirs) = (text(&difference.ours), text(&difference.theirs));
        println!(
            "{} {}: ours {ours}, theirs {theirs}",
            utc(difference.window_start_us),
            difference.field
        );
    }
    if found.differences.is_empty() {
        println!("all equal");
    }
    Ok(())
}

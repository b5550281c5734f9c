//! `ticklake parity`: our bars against a venue's own candles, differences by field into system.parity; exit code 3 where there are some.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use ticklake_engine::parity::{self, Parity, ParityOptions};
use ticklake_engine::silver::rules::utc;
use ticklake_sql::Lake;

use crate::cli::{ParityArgs, ReportFormat};
use crate::exit::Differences;

/// Of a request, its answer read to the end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A year of minutes as Binance writes them has 80 MB.
const MAX_BYTES: usize = 256 << 20;
/// Differences shown in a printed table; system.parity has all.
const SHOWN: usize = 20;

pub async fn run(args: &ParityArgs, lake: &Lake) -> anyhow::Result<()> {
    let text = text(&args.candles)
        .await
        .with_context(|| format!("cannot read the candles in {}", args.candles))?;
    let candles = parity::parse(&text)?;
    let options = ParityOptions {
        source: args.candles.clone(),
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

async fn text(candles: &str) -> anyhow::Result<String> {
    if candles.starts_with("http://") || candles.starts_with("https://") {
        download(candles).await
    } else {
        Ok(std::fs::read_to_string(candles)?)
    }
}

async fn download(url: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await? {
        bytes.extend_from_slice(&part);
        if bytes.len() > MAX_BYTES {
            anyhow::bail!("they are larger than {MAX_BYTES} bytes: ask for fewer at once");
        }
    }
    Ok(String::from_utf8(bytes)?)
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

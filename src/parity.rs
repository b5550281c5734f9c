//! `ticklake parity`: our bars against a venue's own candles, differences by field into system.parity; exit code 3 where there are some.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use serde_json::json;
use ticklake_engine::gold::Interval;
use ticklake_engine::parity::{self, Candle, CandleFormat, Parity, ParityOptions};
use ticklake_engine::schedule::{Compare, Fetch};
use ticklake_engine::silver::rules::utc;
use ticklake_sql::Lake;

use crate::cli::{self, ParityArgs, ReportFormat};
use crate::config::Settings;
use crate::config::settings::CandlesSettings;
use crate::exit::{Differences, Usage};

/// Of a request, its answer read to the end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A year of minutes as Binance writes them has 80 MB.
const MAX_BYTES: usize = 256 << 20;
/// Differences shown in a printed table; system.parity has all.
const SHOWN: usize = 20;
const PRICES: [&str; 4] = ["open", "high", "low", "close"];

pub async fn run(args: &ParityArgs, lake: &Lake) -> anyhow::Result<()> {
    let mut candles = Vec::new();
    for source in &args.candles {
        let read = read(source, args.candle_format).await;
        candles.extend(read.with_context(|| format!("cannot read the candles in {source}"))?);
    }
    candles.sort_by_key(|candle| candle.start_us);
    let options = ParityOptions {
        source: args.candles.join(", "),
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

/// What the scheduled job compares.
pub fn compares(settings: &Settings) -> anyhow::Result<Vec<Compare>> {
    if settings.parity.candles.is_empty() {
        return Err(Usage(
            "jobs.parity is set and there is nothing to compare; add [[parity.candles]] with source, venue and symbol"
                .into(),
        )
        .into());
    }
    let fetch: Fetch = Arc::new(|source: String| {
        async move {
            read(&source, cli::CandleFormat::Auto)
                .await
                .map_err(|error| std::io::Error::other(format!("{error:#}")))
        }
        .boxed()
    });
    let compare = |candles: &CandlesSettings| -> anyhow::Result<Compare> {
        Interval::parse(&candles.interval).map_err(|error| Usage(format!("parity.candles: {error}")))?;
        Ok(Compare {
            options: ParityOptions {
                source: candles.source.clone(),
                venue: candles.venue.clone(),
                symbol: candles.symbol.clone(),
                interval: candles.interval.clone(),
            },
            fetch: fetch.clone(),
        })
    };
    settings.parity.candles.iter().map(compare).collect()
}

async fn read(source: &str, format: cli::CandleFormat) -> anyhow::Result<Vec<Candle>> {
    let format = match format {
        cli::CandleFormat::Auto => CandleFormat::Sniffed,
        cli::CandleFormat::UsEquitiesMinutes => CandleFormat::UsEquitiesMinutes,
    };
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(parity::parse(&download(source).await?)?);
    }
    Ok(parity::read(Path::new(source), format)?)
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
        let equal = json!({ "prices": found.equal_on(&PRICES), "volume": found.equal_on(&["volume"]) });
        let report = json!({ "candles": found.candles, "equal": equal, "by_field": found.by_field(), "differences": differences });
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{} {} {}: {} candles",
        args.venue, args.symbol, args.interval, found.candles
    );
    if !found.differences.is_empty() {
        let of = |equal: u64| format!("{equal} ({:.2} %)", equal as f64 * 100.0 / found.candles as f64);
        println!(
            "equal on open, high, low and close: {}; on volume: {}",
            of(found.equal_on(&PRICES)),
            of(found.equal_on(&["volume"]))
        );
    }
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

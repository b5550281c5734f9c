//! The proof as text for one screen: what was counted, then each difference with its coordinates, or that there is none.

use std::fmt::Write;

use serde_json::Value;
use ticklake_engine::verify::{Difference, Report};

/// Partitions listed one by one; beyond, they are added up by topic.
const LISTED: usize = 16;

pub fn draw(lake: &str, report: &Report) -> String {
    let mut screen = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_all(&mut screen, lake, report);
    screen
}

fn write_all(out: &mut String, lake: &str, report: &Report) -> std::fmt::Result {
    writeln!(out, "lake {lake}\n")?;
    write_origins(out, report)?;
    if let Some(layers) = &report.layers {
        writeln!(
            out,
            "\nbronze {} rows = silver {} + quarantine {} + repeats {}{}",
            layers.bronze,
            layers.silver,
            layers.quarantine,
            layers.repeats,
            behind(layers.behind)
        )?;
    }
    for bars in &report.bars {
        write!(out, "{} {} bars", bars.table, bars.bars)?;
        // The cheap mode does not add them up.
        if bars.trade_count != 0 || bars.fills != 0 {
            write!(out, ", {} fills; silver {} fills", bars.trade_count, bars.fills)?;
        }
        writeln!(out, "{}", behind(bars.behind))?;
    }
    let seconds = report.elapsed.as_secs_f64();
    writeln!(
        out,
        "{} files, {} rows read in {seconds:.1} s",
        report.files, report.rows
    )?;
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    if report.is_clean() {
        return writeln!(out, "\nnothing missing");
    }
    writeln!(out)?;
    for difference in &report.differences {
        write_difference(out, difference)?;
    }
    writeln!(out)?;
    for (check, count) in &report.counts {
        let named = report
            .differences
            .iter()
            .filter(|difference| difference.check == *check)
            .count();
        writeln!(out, "{check}: {count} ({named} named)")?;
    }
    Ok(())
}

fn write_origins(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "{:<24} {:>5} {:>14} {:>14} {:>14} {:>10} {:>8} {:>8} {:>8}",
        "topic", "part", "offsets", "in kafka", "bronze", "dead", "holes", "missing", "behind"
    )?;
    let known = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for origin in report.origins.iter().take(LISTED) {
        writeln!(
            out,
            "{:<24} {:>5} {:>14} {:>14} {:>14} {:>10} {:>8} {:>8} {:>8}",
            shortened(&origin.topic),
            origin.partition,
            origin.to - origin.from,
            known(origin.in_kafka),
            origin.bronze,
            origin.dead_letters,
            origin.holes,
            origin.missing,
            known(origin.behind)
        )?;
    }
    if report.origins.len() > LISTED {
        let rest = &report.origins[LISTED..];
        let bronze: u64 = rest.iter().map(|origin| origin.bronze).sum();
        let dead: u64 = rest.iter().map(|origin| origin.dead_letters).sum();
        writeln!(
            out,
            "and {} more with {bronze} rows and {dead} dead letters",
            rest.len()
        )?;
    }
    Ok(())
}

fn shortened(topic: &str) -> String {
    topic.chars().take(24).collect()
}

fn behind(versions: u64) -> String {
    if versions == 0 {
        String::new()
    } else {
        format!(" ({versions} versions behind)")
    }
}

/// `bar_wrong gold.ohlcv_1m venue=sim symbol=BTC-USDT window_start=...: open 1, from silver 2`.
fn write_difference(out: &mut String, difference: &Difference) -> std::fmt::Result {
    write!(out, "{} {}", difference.check, difference.table)?;
    for (key, value) in &difference.at {
        match value {
            Value::String(text) => write!(out, " {key}={text}")?,
            other => write!(out, " {key}={other}")?,
        }
    }
    writeln!(out, ": {}", difference.what)
}

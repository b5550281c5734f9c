//! `ticklake status`: heartbeats, tables and Kafka end offsets on one screen. Reads only; any of the three may be missing.
//!
//! Reading order: `tables` and `kafka` and `heartbeats` gather, `screen` prints.

mod heartbeats;

mod kafka;

mod screen;

mod tables;

pub use heartbeats::gather as heartbeats;
pub use kafka::brokers;
pub use screen::span;
use serde_json::json;
use ticklake_sql::Lake;

use crate::cli::{ReportFormat, StatusArgs};
use crate::config::Settings;

#[allow(clippy::print_stdout)]
pub async fn run(args: &StatusArgs, settings: &Settings, lake: &Lake) -> anyhow::Result<()> {
    let now_us = lake.clock().now_us();
    let tables = tables::gather(lake).await?;
    let roles = heartbeats::gather(lake).await?;
    let lag = match kafka::brokers(settings) {
        Some(brokers) => Some(kafka::lag(&brokers, settings, &tables).await),
        None => None,
    };
    match args.format {
        ReportFormat::Json => {
            let kafka = lag.map(|lag| lag.to_json());
            let tables: Vec<_> = tables.iter().map(|table| table.to_json()).collect();
            let report =
                json!({ "at_us": now_us, "lake": lake.uri(), "roles": roles, "tables": tables, "kafka": kafka });
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        ReportFormat::Table => print!("{}", screen::draw(lake.uri(), now_us, &roles, &tables, lag.as_ref())),
    }
    Ok(())
}

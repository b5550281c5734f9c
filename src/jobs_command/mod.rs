//! `ticklake jobs`: each scheduled job with its last run, its next one, and how far it is behind. Reads only.
//!
//! Reading order: `gather` puts together what the running process says, what system.jobs keeps and what the tables' logs tell; `screen` prints.

mod gather;
mod screen;

use serde_json::json;
use ticklake_sql::Durability;

use crate::cli::{JobsArgs, ReportFormat};
use crate::config::Settings;
use crate::{jobs, maintenance, options};

#[allow(clippy::print_stdout)]
pub async fn run(args: &JobsArgs, settings: &Settings) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    let configured = jobs::all(settings, maintenance::in_up(settings))?;
    let now_us = lake.clock().now_us();
    let rows = gather::gather(&lake, &configured, now_us).await?;
    match args.format {
        ReportFormat::Json => {
            let rows: Vec<_> = rows.iter().map(gather::JobRow::to_json).collect();
            let report = json!({ "at_us": now_us, "lake": lake.uri(), "jobs": rows });
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        ReportFormat::Table => print!("{}", screen::draw(now_us, &rows)),
    }
    Ok(())
}

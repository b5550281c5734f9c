//! `ticklake vacuum`: deletes what no version inside the time-travel window needs, of every table or of those named, now.

use ticklake_engine::maintenance::{VacuumOptions, VacuumReport, vacuum};
use ticklake_sql::Durability;

use crate::cli::{ReportFormat, VacuumArgs};
use crate::config::Settings;
use crate::{maintenance, options};

pub async fn run(settings: &Settings, args: &VacuumArgs) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    if !args.dry_run {
        lake.probe().await?;
    }
    let (all, tables) = maintenance::chosen(&lake, &args.tables).await?;
    let options = VacuumOptions {
        full: args.full,
        dry_run: args.dry_run,
        ..maintenance::vacuum(settings)?
    };
    let mut first_error = None;
    for table in &tables {
        match vacuum(table, &all, &options).await {
            Ok(report) => tell(&report, args.format),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), |error| Err(error.into()))
}

#[allow(clippy::print_stdout)]
fn tell(report: &VacuumReport, format: ReportFormat) {
    if format == ReportFormat::Json {
        println!("{}", report.to_json());
        return;
    }
    let (table, files, bytes) = (&report.table, report.files, report.bytes);
    let way = if report.full { "full listing" } else { "log" };
    let held_back = match report.held_back {
        0 => String::new(),
        files => format!(", {files} held back for what is derived from it"),
    };
    match (files, report.dry_run) {
        (0, _) => println!("{table}: nothing to delete ({way}{held_back})"),
        (_, true) => println!("{table}: {files} files of {bytes} bytes would be deleted ({way}{held_back})"),
        (_, false) => println!("{table}: {files} files of {bytes} bytes deleted ({way}{held_back})"),
    }
}

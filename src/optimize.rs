//! `ticklake optimize`: merges the small files of every table, or of those named, now.

use ticklake_engine::maintenance::{OptimizeOptions, OptimizeReport, optimize};
use ticklake_sql::Durability;

use crate::cli::{OptimizeArgs, ReportFormat};
use crate::config::Settings;
use crate::{maintenance, options};

pub async fn run(settings: &Settings, args: &OptimizeArgs) -> anyhow::Result<()> {
    let lake = options::lake(settings, Durability::Sync)?;
    if !args.dry_run {
        lake.probe().await?;
    }
    let (_, tables) = maintenance::chosen(&lake, &args.tables).await?;
    let options = OptimizeOptions {
        // Who asks for it now wants all of it done.
        thorough: true,
        dry_run: args.dry_run,
        ..maintenance::optimize(settings)
    };
    let mut first_error = None;
    for table in &tables {
        match optimize(table, &options).await {
            Ok(report) => tell(&report, args.format),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), |error| Err(error.into()))
}

#[allow(clippy::print_stdout)]
fn tell(report: &OptimizeReport, format: ReportFormat) {
    if format == ReportFormat::Json {
        println!("{}", report.to_json());
        return;
    }
    let (table, before, after) = (&report.table, report.files_removed, report.files_added);
    match (before, report.dry_run) {
        (0, _) => println!("{table}: nothing to do"),
        (_, true) => println!(
            "{table}: {before} files would become {after}, {} rows, {} bytes read",
            report.rows, report.bytes_removed
        ),
        (_, false) => println!(
            "{table}: {before} files became {after}, {} rows, {} -> {} bytes, {:.1} s",
            report.rows,
            report.bytes_removed,
            report.bytes_added,
            report.elapsed.as_secs_f64()
        ),
    }
}

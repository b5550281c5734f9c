//! `ticklake optimize`: merges the small files of every table, or of those named, now. With `--cluster` each is brought into its layout first.

use ticklake_engine::maintenance::{ClusterReport, OptimizeOptions, OptimizeReport, cluster, optimize};
use ticklake_sql::{Durability, Lake, Table};

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
        if let Err(error) = one(&lake, table, &options, args).await {
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

async fn one(lake: &Lake, table: &Table, options: &OptimizeOptions, args: &OptimizeArgs) -> anyhow::Result<()> {
    let mut table = table.clone();
    if args.cluster {
        let report = cluster(&table, options).await?;
        if !report.is_empty() {
            tell_layout(&report, args.format);
            if report.dry_run {
                return Ok(());
            }
            table = lake.table(table.name()).await?;
        }
    }
    tell(&optimize(&table, options).await?, args.format);
    Ok(())
}

#[allow(clippy::print_stdout)]
fn tell_layout(report: &ClusterReport, format: ReportFormat) {
    if format == ReportFormat::Json {
        println!("{}", report.to_json());
        return;
    }
    let (table, before, after, rows) = (&report.table, report.files_removed, report.files_added, report.rows);
    let seconds = report.elapsed.as_secs_f64();
    let version = report
        .version
        .map_or_else(String::new, |version| format!(", version {version}"));
    match (&report.to, report.dry_run) {
        (Some(to), true) => println!(
            "{table}: would be partitioned by {} instead of {}, {before} files and {rows} rows rewritten",
            to.join(", "),
            report.from.join(", ")
        ),
        (Some(to), false) => println!(
            "{table}: partitioned by {} instead of {}, {before} files became {after}, {rows} rows with checksum {:016x}{version}, {seconds:.1} s",
            to.join(", "),
            report.from.join(", "),
            report.checksum
        ),
        (None, true) => println!("{table}: {before} files would be put in order, {rows} rows"),
        (None, false) => println!("{table}: {before} files put in order, {rows} rows{version}, {seconds:.1} s"),
    }
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

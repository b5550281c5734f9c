//! The job: one table into the layout that it is meant to have.

use std::time::Instant;

use ticklake_sql::Table;

use super::ClusterReport;
use super::partitions::repartition;
use super::sorted::put_in_order;
use crate::Result;
use crate::maintenance::OptimizeOptions;

/// Partitions `table` by what the options of its lake name, and puts files that are in another order than the table's into it. May be killed at any
/// moment: what is not committed is nothing but files that vacuum finds. The table has to be opened again where the report names new columns.
pub async fn cluster(table: &Table, options: &OptimizeOptions) -> Result<ClusterReport> {
    let started = Instant::now();
    let mut report = ClusterReport::new(table, options.dry_run);
    let wanted = table.lake().wanted_partitions(table.name());
    match wanted.filter(|wanted| *wanted != table.spec().partition_columns) {
        Some(wanted) => repartition(table, wanted, options, &mut report).await?,
        None => put_in_order(table, options, &mut report).await?,
    }
    report.elapsed = started.elapsed();
    if report.commits > 0 {
        report.log();
    }
    Ok(report)
}

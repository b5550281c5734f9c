//! The job: plan, merge, commit, and plan again until nothing is left to do.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value, json};
use ticklake_sql::error::chain;
use ticklake_sql::{ErrorKind, Table, failpoint};

use super::plan::{Bin, Partition, plan};
use super::rewrite::{Rewritten, rewrite};
use super::{OptimizeOptions, OptimizeReport};
use crate::maintenance::active::ActiveFiles;
use crate::maintenance::replace::{Change, Replacer};
use crate::scan::DataFile;
use crate::{Error, Result};

/// Merges of one commit at most: what a kill makes undone.
const COMMIT_BINS: usize = 8;
/// Plans of one run at most. Each leaves fewer files unless another writer was always first.
const ROUNDS: u32 = 50;

/// Merges the small files of `table`. May be killed at any moment: what is not committed is nothing but files that vacuum finds.
pub async fn optimize(table: &Table, options: &OptimizeOptions) -> Result<OptimizeReport> {
    let started = Instant::now();
    let mut run = Run {
        files: ActiveFiles::load(table).await?,
        replacer: Replacer::open(table).await?,
        report: OptimizeReport::new(table.name().clone(), options.dry_run),
        broken: HashSet::new(),
        first_error: None,
        table,
        options,
    };
    for _ in 0..ROUNDS {
        if !run.round().await? {
            break;
        }
    }
    run.report.elapsed = started.elapsed();
    if run.report.commits > 0 {
        run.report.log();
    }
    match run.first_error {
        Some(error) => Err(error),
        None => Ok(run.report),
    }
}

struct Run<'a> {
    table: &'a Table,
    options: &'a OptimizeOptions,
    files: ActiveFiles,
    replacer: Replacer,
    report: OptimizeReport,
    /// Files that cannot be merged as they are: left out, so that the others go on.
    broken: HashSet<String>,
    first_error: Option<Error>,
}

impl Run<'_> {
    /// One plan, carried out. False: there was nothing to do.
    async fn round(&mut self) -> Result<bool> {
        let now = self.table.lake().clock().now();
        let planned_at = self.files.version();
        let whole: Vec<Arc<DataFile>> = self
            .files
            .iter()
            .filter(|file| !self.broken.contains(&file.add.path))
            .cloned()
            .collect();
        let bins = plan(self.table.name(), whole.iter(), self.options, now);
        if self.options.dry_run {
            bins.iter().for_each(|bin| self.foresee(bin));
            return Ok(false);
        }
        let mut of_partition: BTreeMap<Partition, Vec<Bin>> = BTreeMap::new();
        for bin in bins {
            of_partition.entry(bin.partition.clone()).or_default().push(bin);
        }
        if of_partition.is_empty() {
            return Ok(false);
        }
        for bins in of_partition.values().flat_map(|bins| bins.chunks(COMMIT_BINS)) {
            self.carry_out(planned_at, bins).await?;
        }
        self.files.follow().await?;
        Ok(true)
    }

    fn foresee(&mut self, bin: &Bin) {
        self.report.files_removed += bin.files.len() as u64;
        self.report.files_added += 1;
        self.report.bytes_removed += bin.bytes();
        self.report.rows += bin.files.iter().filter_map(|file| file.rows).sum::<u64>();
    }

    /// Merges of one partition, in one commit.
    async fn carry_out(&mut self, planned_at: u64, bins: &[Bin]) -> Result<()> {
        let (table, options) = (self.table, self.options);
        let merges: Vec<_> = bins.iter().map(|bin| rewrite(table, bin, options).boxed()).collect();
        let outcomes: Vec<_> = stream::iter(merges)
            .buffered(options.merges_at_once.max(1))
            .collect()
            .await;
        let mut rewritten: Vec<(&Bin, Rewritten)> = Vec::new();
        for (bin, outcome) in bins.iter().zip(outcomes) {
            match outcome {
                Ok(merged) => rewritten.push((bin, merged)),
                Err(error) => self.set_aside(bin, error).await?,
            }
        }
        if rewritten.is_empty() {
            return Ok(());
        }
        failpoint::reach("optimize-files-written");
        let changes: Vec<Change> = rewritten.iter().map(|(_, merged)| merged.change.clone()).collect();
        let info = info(&rewritten);
        let replaced = self
            .replacer
            .commit(planned_at, &changes, "OPTIMIZE", info, &[])
            .await?;
        failpoint::reach("optimize-committed");
        self.report.commits += u64::from(replaced.version.is_some());
        self.report.version = replaced.version.or(self.report.version);
        for ((bin, merged), landed) in rewritten.iter().zip(replaced.landed) {
            if landed {
                self.report.files_removed += bin.files.len() as u64;
                self.report.files_added += merged.change.adds.len() as u64;
                self.report.bytes_removed += bin.bytes();
                self.report.bytes_added += merged.bytes;
                self.report.rows += merged.checksum.rows;
            } else {
                self.report.lost += 1;
            }
        }
        Ok(())
    }

    /// A merge that failed. What may pass ends the run; what is wrong with the files leaves them out and is told at the end. A file that
    /// is gone was taken out by another writer and deleted since, which the next plan sees.
    async fn set_aside(&mut self, bin: &Bin, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Data {
            return Err(error);
        }
        self.files.follow().await?;
        let is_current = bin.files.iter().all(|file| self.files.get(&file.add.path).is_some());
        if is_current {
            tracing::error!(table = %self.table.name(), files = bin.files.len(), error = chain(&error), "files cannot be merged and are left as they are");
            self.broken.extend(bin.files.iter().map(|file| file.add.path.clone()));
            self.first_error.get_or_insert(error);
        }
        Ok(())
    }
}

fn info(rewritten: &[(&Bin, Rewritten)]) -> Map<String, Value> {
    let mut total = super::checksum::Checksum::default();
    for (_, merged) in rewritten {
        total.merge(merged.checksum);
    }
    let files: usize = rewritten.iter().map(|(bin, _)| bin.files.len()).sum();
    let before: u64 = rewritten.iter().map(|(bin, _)| bin.bytes()).sum();
    let after: u64 = rewritten.iter().map(|(_, merged)| merged.bytes).sum();
    Map::from_iter([
        ("filesMerged".to_owned(), json!(files)),
        ("bytesBefore".to_owned(), json!(before)),
        ("bytesAfter".to_owned(), json!(after)),
        ("rows".to_owned(), json!(total.rows)),
        ("checksum".to_owned(), json!(format!("{:016x}", total.sum))),
    ])
}

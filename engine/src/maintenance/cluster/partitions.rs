//! A whole table partitioned by other columns: every file rewritten, then one commit that takes out all of them, brings in what became of them and says
//! the new columns.
//!
//! Writers go on meanwhile. What they add is rewritten too, and what they take out is rewritten again, round after round until nothing is left; the
//! commit lands only on exactly the version whose files it holds. A writer that had the table open finds that out at its next commit and opens it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, json};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::{ErrorKind, Table, app_ids, failpoint, log};

use super::ClusterReport;
use super::plan::plan;
use crate::error::Step;
use crate::maintenance::OptimizeOptions;
use crate::maintenance::active::ActiveFiles;
use crate::maintenance::optimize::checksum::Checksum;
use crate::maintenance::optimize::plan::size;
use crate::maintenance::optimize::rewrite::{Rewritten, rewrite_into};
use crate::scan::DataFile;
use crate::{Error, Result};

/// Looks at what others have committed meanwhile, each of which costs a rewrite of theirs and a put.
const ROUNDS: u32 = 500;
/// Tries of a commit whose outcome stays unknown, about 6 s in all.
const UNKNOWN_OUTCOMES: usize = 6;
/// Vacuum takes files without a commit after a day.
const LONGEST: TimeDelta = TimeDelta::hours(20);

/// Files that were rewritten together, and what became of them.
struct Done {
    inputs: Vec<Arc<DataFile>>,
    written: Rewritten,
}

struct Repartition<'a> {
    table: &'a Table,
    target: Table,
    columns: &'a [String],
    options: &'a OptimizeOptions,
    files: ActiveFiles,
    committer: Committer,
    done: Vec<Done>,
    lost: u64,
    until: DateTime<Utc>,
}

/// Partitions `table` by `columns`.
pub async fn repartition(
    table: &Table,
    columns: &[String],
    options: &OptimizeOptions,
    report: &mut ClusterReport,
) -> Result<()> {
    let mut run = Repartition::open(table, columns, options).await?;
    report.to = Some(columns.to_vec());
    if options.dry_run {
        report.files_removed = run.files.iter().count() as u64;
        report.bytes_removed = run.files.iter().map(|file| size(file)).sum();
        report.rows = run.files.iter().filter_map(|file| file.rows).sum();
        return Ok(());
    }
    report.version = Some(run.run().await?);
    report.commits = 1;
    report.lost = run.lost;
    for done in &run.done {
        report.files_removed += done.inputs.len() as u64;
        report.files_added += done.written.change.adds.len() as u64;
        report.bytes_removed += done.inputs.iter().map(|file| size(file)).sum::<u64>();
        report.bytes_added += done.written.bytes;
    }
    let sum = run.sum();
    (report.rows, report.checksum) = (sum.rows, sum.sum);
    Ok(())
}

impl<'a> Repartition<'a> {
    async fn open(table: &'a Table, columns: &'a [String], options: &'a OptimizeOptions) -> Result<Self> {
        Ok(Self {
            target: table.partitioned_by(columns).step("partition a table otherwise")?,
            committer: Committer::open(table).await.step("read the positions of a table")?,
            files: ActiveFiles::load(table).await?,
            until: table.lake().clock().now() + LONGEST,
            table,
            columns,
            options,
            done: Vec::new(),
            lost: 0,
        })
    }

    /// The version that the table has in its new partitions.
    async fn run(&mut self) -> Result<u64> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(UNKNOWN_OUTCOMES)
            .with_jitter()
            .build();
        for _ in 0..ROUNDS {
            self.files.follow().await?;
            self.let_go();
            let left = self.left();
            if !left.is_empty() {
                self.rewrite(left).await?;
                continue;
            }
            failpoint::reach("cluster-files-written");
            match self.commit().await {
                Ok(Some(version)) => {
                    failpoint::reach("cluster-committed");
                    return Ok(version);
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Retry => {
                    // The outcome is unknown: the log tells.
                    if let Some(version) = self.landed().await? {
                        return Ok(version);
                    }
                    match delays.next() {
                        Some(delay) => tokio::time::sleep(delay).await,
                        None => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended {
            table: self.table.name().clone(),
            attempts: ROUNDS,
        })
    }

    /// Forgets what was made of files that others have taken out since: what is left of them is rewritten again.
    fn let_go(&mut self) {
        let files = &self.files;
        let before = self.done.len();
        self.done
            .retain(|done| done.inputs.iter().all(|file| files.get(&file.add.path).is_some()));
        self.lost += (before - self.done.len()) as u64;
    }

    /// Files that nothing was made of yet.
    fn left(&self) -> Vec<Arc<DataFile>> {
        let inputs = self.done.iter().flat_map(|done| &done.inputs);
        let covered: HashSet<&str> = inputs.map(|file| file.add.path.as_str()).collect();
        let left = self
            .files
            .iter()
            .filter(|file| !covered.contains(file.add.path.as_str()));
        left.cloned().collect()
    }

    async fn rewrite(&mut self, left: Vec<Arc<DataFile>>) -> Result<()> {
        if let Some(file) = left.iter().find(|file| file.add.deletion_vector.is_some()) {
            return Err(self.broken(format!(
                "file {} has a deletion vector, which this version does not read",
                file.add.path
            )));
        }
        let stays = |column: &&String| self.columns.contains(column);
        let dates: Vec<String> = self
            .table
            .spec()
            .partition_columns
            .iter()
            .filter(stays)
            .cloned()
            .collect();
        let bins = plan(self.table.name(), left.into_iter(), &dates, self.options.target_bytes);
        let (table, target, options) = (self.table, &self.target, self.options);
        let writes: Vec<_> = bins
            .into_iter()
            .map(|inputs| async move { (rewrite_into(table, target, &inputs, options).await, inputs) }.boxed())
            .collect();
        let mut writes = stream::iter(writes).buffered(options.merges_at_once.max(1));
        let mut failed = Vec::new();
        while let Some((written, inputs)) = writes.next().await {
            match written {
                Ok(written) => self.done.push(Done { inputs, written }),
                Err(error) => failed.push((error, inputs)),
            }
        }
        drop(writes);
        if failed.is_empty() {
            return Ok(());
        }
        // A file that is gone was taken out by another writer and deleted since, which the next round sees.
        self.files.follow().await?;
        let is_current = |inputs: &[Arc<DataFile>]| inputs.iter().all(|file| self.files.get(&file.add.path).is_some());
        match failed.into_iter().find(|(_, inputs)| is_current(inputs)) {
            Some((error, _)) => Err(error),
            None => Ok(()),
        }
    }

    fn sum(&self) -> Checksum {
        let mut sum = Checksum::default();
        self.done.iter().for_each(|done| sum.merge(done.written.checksum));
        sum
    }

    /// Each rewritten file was read back and holds the rows of its inputs; here that all files are there, and no more.
    fn prove(&self, sum: Checksum) -> Result<()> {
        let inputs: usize = self.done.iter().map(|done| done.inputs.len()).sum();
        let files = self.files.iter().count();
        let promised: Option<u64> = self.files.iter().map(|file| file.rows).sum();
        if inputs != files || promised.is_some_and(|promised| promised != sum.rows) {
            return Err(self.broken(format!(
                "{files} files of {} rows became those of {inputs} files and {} rows",
                promised.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string()),
                sum.rows
            )));
        }
        Ok(())
    }

    /// `None`: another writer was first.
    async fn commit(&mut self) -> Result<Option<u64>> {
        if self.table.lake().clock().now() > self.until {
            return Err(self.broken(format!(
                "took more than {} hours to rewrite, after which vacuum takes files without a commit; raise the machine's cores or rewrite it where it is smaller",
                LONGEST.num_hours()
            )));
        }
        let sum = self.sum();
        self.prove(sum)?;
        self.committer.refresh().await.step("read new positions of a table")?;
        let writer_app = app_ids::writer(self.table.name());
        let writer = self.committer.positions().get(&writer_app).copied().unwrap_or(0) + 1;
        let now_ms = self.table.lake().clock().now().timestamp_millis();
        let changes = || self.done.iter().map(|done| &done.written.change);
        let removes = changes().flat_map(|change| change.removes.iter().cloned());
        let commit = Commit {
            operation: "CLUSTER".into(),
            info: Map::from_iter([
                ("partitionedFrom".to_owned(), json!(self.table.spec().partition_columns)),
                ("partitionedTo".to_owned(), json!(self.columns)),
                ("rows".to_owned(), json!(sum.rows)),
                ("checksum".to_owned(), json!(format!("{:016x}", sum.sum))),
            ]),
            txns: vec![Txn {
                app_id: writer_app,
                version: writer,
            }],
            adds: changes().flat_map(|change| change.adds.iter().cloned()).collect(),
            // The time that counts for vacuum is that of the commit.
            removes: removes
                .map(|mut remove| {
                    remove.deletion_timestamp = Some(now_ms);
                    remove
                })
                .collect(),
            partition_columns: Some(self.columns.to_vec()),
            read_version: Some(self.files.version()),
            ..Commit::default()
        };
        match self.committer.commit(commit).await.step("commit a rewritten table")? {
            Outcome::Committed { version } => Ok(Some(version)),
            Outcome::Conflict { version, reason } => {
                tracing::debug!(table = %self.table.name(), version, reason, "another writer was first, going on from there");
                Ok(None)
            }
        }
    }

    /// The version that a put whose answer was lost has become.
    async fn landed(&self) -> Result<Option<u64>> {
        let Some(own) = self.done.iter().flat_map(|done| &done.written.change.adds).next() else {
            return Ok(None);
        };
        let mut version = self.files.version();
        loop {
            version += 1;
            let entry = log::read(self.table, version).await.step("read the log of a table")?;
            match entry {
                Some(entry) if entry.adds.iter().any(|add| add.path == own.path) => return Ok(Some(version)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn broken(&self, message: String) -> Error {
        Error::Data {
            table: self.table.name().clone(),
            message: format!("{message}; nothing was changed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ticklake_sql::TableName;

    use super::*;
    use crate::maintenance::tests::{filled, trade};
    use crate::silver::tests::lake::Row;
    use crate::silver::tests::partitions::scanned;
    use crate::silver::{Silver, SilverOptions};

    /// Between the rewrite of a file and the commit a lesser repeat takes a row out of it, and a new row comes.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_made_of_a_file_that_is_taken_out_meanwhile_is_no_row() {
        let lake = filled(4, 12).await;
        let name = TableName::silver_trades();
        let table = lake.lake.table(&name).await.unwrap();
        let (columns, options) = (["symbol".to_owned(), "date".to_owned()], OptimizeOptions::default());
        let mut run = Repartition::open(&table, &columns, &options).await.unwrap();
        run.rewrite(run.left()).await.unwrap();

        let lesser = Row {
            partition: -1,
            ..trade(3)
        };
        lake.land(&[lesser, trade(48)]).await;
        let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
        silver.refresh().await.unwrap();
        let rows = scanned(&lake, &name).await;
        assert_eq!(rows.len(), 49);

        run.run().await.unwrap();
        assert_eq!(run.lost, 1);
        assert_eq!(lake.lake.table(&name).await.unwrap().spec().partition_columns, columns);
        assert_eq!(scanned(&lake, &name).await, rows);
    }
}

//! One file out of many, or one for each partition that their rows come to: read in order, encoded, read back, and only uploaded where the rows read
//! back are the rows that were read.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use ticklake_sql::Table;
use ticklake_sql::commit::removal;
use tokio::runtime::Handle;

use super::OptimizeOptions;
use super::checksum::Checksum;
use super::chunk::Chunk;
use super::merge::{Merge, Merged};
use super::output::{MergedFile, Output, Target};
use super::plan::Bin;
use super::source::{BATCH_ROWS, FileRows, Source};
use super::spill::SpillWriter;
use crate::error::Step;
use crate::maintenance::replace::Change;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Requests for data files under way at once.
const FETCHES: usize = 8;
/// Rows that the open files of a merge hold decoded, all together; each has a few at least.
const ROWS_IN_MEMORY: usize = 32_768;
const LEAST_ROWS: usize = 256;

/// A merge that is written and waits for its commit.
#[derive(Debug)]
pub struct Rewritten {
    pub change: Change,
    pub checksum: Checksum,
    pub bytes: u64,
}

/// Merges the files of a bin. Nothing is visible before the commit of the change.
pub async fn rewrite(table: &Table, bin: &Bin, options: &OptimizeOptions) -> Result<Rewritten> {
    rewrite_into(table, table, &bin.files, options).await
}

/// Merges `files` of `from` into files of `to`, the same table as it will be partitioned. They lie in one partition, or on one date where `to` is
/// partitioned otherwise.
pub async fn rewrite_into(
    from: &Table,
    to: &Table,
    files: &[Arc<DataFile>],
    options: &OptimizeOptions,
) -> Result<Rewritten> {
    let work = Work {
        target: Target::new(from, to, files, options.zstd_level)?,
        open_files: (options.open_files / options.merges_at_once.max(1)).max(2),
        handle: Handle::current(),
        table: from.clone(),
        files: files.to_vec(),
        options: options.clone(),
    };
    let merged = tokio::task::spawn_blocking(move || work.run())
        .await
        .map_err(|error| Error::Internal(format!("a merge ended early: {error}")))??;
    // As old as its youngest row's file: age says whether a partition still grows.
    let age = files.iter().map(|file| file.add.modification_time).max();
    let mut adds = Vec::with_capacity(merged.files.len());
    for MergedFile { file, tags, partition } in merged.files {
        let mut add = file.upload(to, partition).await.step("upload a merged file")?;
        add.data_change = false;
        add.tags = tags.finish();
        add.modification_time = age.unwrap_or(add.modification_time);
        adds.push(add);
    }
    let now = from.lake().clock().now();
    let removes = files.iter().map(|file| deltalake::kernel::Remove {
        tags: None,
        ..removal(&file.add, now, false)
    });
    Ok(Rewritten {
        bytes: adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum(),
        change: Change {
            removes: removes.collect(),
            adds,
        },
        checksum: merged.checksum,
    })
}

/// The bytes of a whole data file.
pub async fn fetch(table: &Table, file: &DataFile) -> Result<bytes::Bytes> {
    let path = Path::parse(&file.add.path).unwrap_or_else(|_| Path::from(file.add.path.as_str()));
    let failed = |source: object_store::Error| Error::Read {
        table: table.name().clone(),
        path: file.add.path.clone(),
        source: Box::new(source),
    };
    let store = table.log_store().object_store(None);
    let found = store.get(&path).await.map_err(failed)?;
    found.bytes().await.map_err(failed)
}

/// One merge, run on a thread of its own.
struct Work {
    table: Table,
    target: Target,
    files: Vec<Arc<DataFile>>,
    options: OptimizeOptions,
    open_files: usize,
    handle: Handle,
}

struct MergedFiles {
    files: Vec<MergedFile>,
    checksum: Checksum,
}

/// How far a step came with sources that should keep the order.
enum Sorted<T> {
    Done(T),
    Unsorted,
}

impl Work {
    fn run(&self) -> Result<MergedFiles> {
        if self.target.order.is_kept_by_writers
            && let Sorted::Done(merged) = self.merge_files()?
        {
            return Ok(merged);
        }
        let mut read = Checksum::default();
        let sources = self.sort_files(&mut read)?;
        match self.merge_runs(sources, read)? {
            Sorted::Done(merged) => Ok(merged),
            Sorted::Unsorted => Err(Error::Internal("sorted runs are not sorted".into())),
        }
    }

    /// Files that keep the order: merged at once, or in steps.
    fn merge_files(&self) -> Result<Sorted<MergedFiles>> {
        let mut read = Checksum::default();
        if self.files.len() <= self.open_files {
            let sources = self.open(&self.files)?;
            return self.encode(sources, read);
        }
        let mut runs = Vec::new();
        for files in self.files.chunks(self.open_files) {
            let sources = self.open(files)?;
            match self.spill(sources, &mut read)? {
                Sorted::Done(run) => runs.push(run),
                Sorted::Unsorted => return Ok(Sorted::Unsorted),
            }
        }
        self.merge_runs(runs, read)
    }

    fn merge_runs(&self, mut runs: Vec<Source>, mut read: Checksum) -> Result<Sorted<MergedFiles>> {
        while runs.len() > self.open_files {
            let mut longer = Vec::new();
            while !runs.is_empty() {
                let some: Vec<Source> = runs.drain(..runs.len().min(self.open_files)).collect();
                match self.spill(some, &mut read)? {
                    Sorted::Done(run) => longer.push(run),
                    Sorted::Unsorted => return Ok(Sorted::Unsorted),
                }
            }
            runs = longer;
        }
        self.encode(runs, read)
    }

    fn open(&self, files: &[Arc<DataFile>]) -> Result<Vec<Source>> {
        let fetches = files.iter().map(|file| fetch(&self.table, file));
        // A disk's own reads are short, and each thread that reads keeps memory for the next.
        let at_once = if self.table.lake().is_local() { 1 } else { FETCHES };
        let bytes: Vec<bytes::Bytes> = self
            .handle
            .block_on(stream::iter(fetches).buffered(at_once).try_collect())?;
        let rows = (ROWS_IN_MEMORY / files.len()).clamp(LEAST_ROWS, BATCH_ROWS);
        files
            .iter()
            .zip(bytes)
            .map(|(file, bytes)| {
                let (path, values) = (&file.add.path, &file.add.partition_values);
                FileRows::open(self.table.name(), path, bytes, &self.target.schema, values, rows).map(Source::File)
            })
            .collect()
    }

    fn spill(&self, sources: Vec<Source>, read: &mut Checksum) -> Result<Sorted<Source>> {
        let Some(mut merge) = Merge::new(self.target.schema.clone(), self.target.order.clone(), sources)? else {
            return Ok(Sorted::Unsorted);
        };
        let mut run = self.spill_file()?;
        loop {
            match merge.next()? {
                Merged::Rows(rows) => run.push(&rows)?,
                Merged::End => break,
                Merged::Unsorted => return Ok(Sorted::Unsorted),
            }
        }
        read.merge(merge.read());
        Ok(Sorted::Done(Source::Spill(run.finish()?)))
    }

    fn spill_file(&self) -> Result<SpillWriter> {
        SpillWriter::create(self.options.spill_dir.as_deref(), &self.target.schema)
    }

    /// Files whose rows may come in any order: as many as memory allows are sorted together and become a run.
    fn sort_files(&self, read: &mut Checksum) -> Result<Vec<Source>> {
        let mut runs = Vec::new();
        let mut chunk = Chunk::default();
        for file in &self.files {
            for mut source in self.open(std::slice::from_ref(file))? {
                while let Some(rows) = source.next()? {
                    read.add(&rows)?;
                    chunk.push(rows);
                    if chunk.bytes() >= self.options.sort_bytes {
                        runs.push(self.spill_chunk(std::mem::take(&mut chunk))?);
                    }
                }
            }
        }
        if !chunk.is_empty() {
            runs.push(match runs.is_empty() {
                true => Source::Chunk(chunk.sort(&self.target.order)?),
                false => self.spill_chunk(chunk)?,
            });
        }
        Ok(runs)
    }

    fn spill_chunk(&self, chunk: Chunk) -> Result<Source> {
        let mut sorted = chunk.sort(&self.target.order)?;
        let mut run = self.spill_file()?;
        while let Some(rows) = sorted.next()? {
            run.push(&rows)?;
        }
        Ok(Source::Spill(run.finish()?))
    }

    /// The merged files, proven. `read`: what was read on the way to `sources` already.
    fn encode(&self, sources: Vec<Source>, mut read: Checksum) -> Result<Sorted<MergedFiles>> {
        let Some(mut merge) = Merge::new(self.target.schema.clone(), self.target.order.clone(), sources)? else {
            return Ok(Sorted::Unsorted);
        };
        let mut output = Output::new(&self.target, &self.files);
        loop {
            match merge.next()? {
                Merged::Rows(rows) => output.push(&rows)?,
                Merged::End => break,
                Merged::Unsorted => return Ok(Sorted::Unsorted),
            }
        }
        read.merge(merge.read());
        drop(merge);
        let (files, written) = output.finish()?;
        self.prove(read, written)?;
        Ok(Sorted::Done(MergedFiles { files, checksum: read }))
    }

    /// As many rows as the log promises of the inputs, and the same rows in the encoded files.
    fn prove(&self, read: Checksum, written: Checksum) -> Result<()> {
        let broken = |message: String| {
            Err(Error::Data {
                table: self.table.name().clone(),
                message: format!(
                    "{message}; nothing was changed, the {} files from {} on stay as they are",
                    self.files.len(),
                    self.files[0].add.path
                ),
            })
        };
        let promised: Option<u64> = self.files.iter().map(|file| file.rows).sum();
        if let Some(promised) = promised.filter(|promised| *promised != read.rows) {
            return broken(format!("its log promises {promised} rows where {} are", read.rows));
        }
        if written != read {
            return broken(format!(
                "{} rows with checksum {:016x} became {} with {:016x}",
                read.rows, read.sum, written.rows, written.sum
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ticklake_sql::TableName;

    use super::*;
    use crate::maintenance::active::ActiveFiles;
    use crate::maintenance::tests::filled;

    /// As if a row had been lost, doubled or changed between the files and the merged one: what was read does not add up to it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_merged_file_of_other_rows_is_refused() {
        let lake = filled(4, 10).await;
        let table = lake.lake.table(&TableName::silver_trades()).await.unwrap();
        let files: Vec<_> = ActiveFiles::load(&table).await.unwrap().iter().cloned().collect();
        let work = Work {
            target: Target::new(&table, &table, &files, 1).unwrap(),
            open_files: 8,
            handle: Handle::current(),
            files,
            options: OptimizeOptions::default(),
            table,
        };
        let merge = move |wrong: u64| {
            let sources = work.open(&work.files).unwrap();
            work.encode(sources, Checksum { rows: 0, sum: wrong })
        };
        let [right, wrong] = tokio::task::spawn_blocking(move || [merge(0), merge(1)]).await.unwrap();
        assert!(matches!(right.unwrap(), Sorted::Done(_)));
        let Err(error) = wrong else {
            panic!("other rows were taken")
        };
        assert_eq!(error.kind(), ticklake_sql::ErrorKind::Data);
        assert!(error.to_string().contains("40 rows with checksum"), "{error}");
    }
}

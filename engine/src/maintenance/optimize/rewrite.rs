//! One file out of many: read in order, encoded, read back, and only uploaded where the rows read back are the rows that were read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use ticklake_sql::Table;
use ticklake_sql::commit::removal;
use ticklake_sql::data_file::{EncodedFile, Encoder, FileOptions};
use tokio::runtime::Handle;

use super::OptimizeOptions;
use super::checksum::Checksum;
use super::chunk::Chunk;
use super::merge::{Merge, Merged};
use super::order::RowOrder;
use super::plan::Bin;
use super::source::{FileRows, Source};
use super::spill::SpillWriter;
use super::tags::Tags;
use crate::error::Step;
use crate::maintenance::replace::Change;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Requests for data files under way at once.
const FETCHES: usize = 8;

/// A merge that is written and waits for its commit.
#[derive(Debug)]
pub struct Rewritten {
    pub change: Change,
    pub checksum: Checksum,
    pub bytes: u64,
}

/// Merges the files of a bin. Nothing is visible before the commit of the change.
pub async fn rewrite(table: &Table, bin: &Bin, options: &OptimizeOptions) -> Result<Rewritten> {
    let work = Work {
        schema: table.spec().file_schema(),
        order: RowOrder::of(table.spec()),
        open_files: (options.open_files / options.merges_at_once.max(1)).max(2),
        handle: Handle::current(),
        table: table.clone(),
        files: bin.files.clone(),
        options: options.clone(),
    };
    let merged = tokio::task::spawn_blocking(move || work.run())
        .await
        .map_err(|error| Error::Internal(format!("a merge ended early: {error}")))??;
    let partition: BTreeMap<String, String> = bin
        .partition
        .iter()
        .filter_map(|(column, value)| Some((column.clone(), value.clone()?)))
        .collect();
    let mut add = merged
        .file
        .upload(table, partition)
        .await
        .step("upload a merged file")?;
    add.data_change = false;
    add.tags = merged.tags.finish();
    // As old as its youngest row's file: age says whether a partition still grows.
    add.modification_time = bin
        .files
        .iter()
        .map(|file| file.add.modification_time)
        .max()
        .unwrap_or(add.modification_time);
    let now = table.lake().clock().now();
    let removes = bin.files.iter().map(|file| deltalake::kernel::Remove {
        tags: None,
        ..removal(&file.add, now, false)
    });
    Ok(Rewritten {
        bytes: u64::try_from(add.size).unwrap_or(0),
        change: Change {
            removes: removes.collect(),
            adds: vec![add],
        },
        checksum: merged.checksum,
    })
}

/// One merge, run on a thread of its own.
struct Work {
    table: Table,
    schema: SchemaRef,
    order: RowOrder,
    files: Vec<Arc<DataFile>>,
    options: OptimizeOptions,
    open_files: usize,
    handle: Handle,
}

struct MergedFile {
    file: EncodedFile,
    tags: Tags,
    checksum: Checksum,
}

/// How far a step came with sources that should keep the order.
enum Sorted<T> {
    Done(T),
    Unsorted,
}

impl Work {
    fn run(&self) -> Result<MergedFile> {
        if self.order.is_kept_by_writers
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
    fn merge_files(&self) -> Result<Sorted<MergedFile>> {
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

    fn merge_runs(&self, mut runs: Vec<Source>, mut read: Checksum) -> Result<Sorted<MergedFile>> {
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
        let fetches = files.iter().map(|file| self.fetch(file));
        let bytes: Vec<bytes::Bytes> = self
            .handle
            .block_on(stream::iter(fetches).buffered(FETCHES).try_collect())?;
        files
            .iter()
            .zip(bytes)
            .map(|(file, bytes)| {
                FileRows::open(self.table.name(), &file.add.path, bytes, &self.schema).map(Source::File)
            })
            .collect()
    }

    async fn fetch(&self, file: &DataFile) -> Result<bytes::Bytes> {
        let path = Path::parse(&file.add.path).unwrap_or_else(|_| Path::from(file.add.path.as_str()));
        let failed = |source: object_store::Error| Error::Read {
            table: self.table.name().clone(),
            path: file.add.path.clone(),
            source: Box::new(source),
        };
        let store = self.table.log_store().object_store(None);
        let found = store.get(&path).await.map_err(failed)?;
        found.bytes().await.map_err(failed)
    }

    fn spill(&self, sources: Vec<Source>, read: &mut Checksum) -> Result<Sorted<Source>> {
        let Some(mut merge) = Merge::new(self.schema.clone(), self.order.clone(), sources)? else {
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
        SpillWriter::create(self.options.spill_dir.as_deref(), &self.schema)
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
                true => Source::Chunk(chunk.sort(&self.order)?),
                false => self.spill_chunk(chunk)?,
            });
        }
        Ok(runs)
    }

    fn spill_chunk(&self, chunk: Chunk) -> Result<Source> {
        let mut sorted = chunk.sort(&self.order)?;
        let mut run = self.spill_file()?;
        while let Some(rows) = sorted.next()? {
            run.push(&rows)?;
        }
        Ok(Source::Spill(run.finish()?))
    }

    /// The merged file, proven. `read`: what was read on the way to `sources` already.
    fn encode(&self, sources: Vec<Source>, mut read: Checksum) -> Result<Sorted<MergedFile>> {
        let Some(mut merge) = Merge::new(self.schema.clone(), self.order.clone(), sources)? else {
            return Ok(Sorted::Unsorted);
        };
        let options = FileOptions {
            zstd_level: self.options.zstd_level,
            ..FileOptions::default()
        };
        let mut encoder = Encoder::new(&self.table, options).step("encode a merged file")?;
        let mut tags = Tags::of(self.table.name(), self.files.iter().map(|file| &file.add));
        loop {
            match merge.next()? {
                Merged::Rows(rows) => {
                    tags.see(&rows)?;
                    encoder.push(&rows).step("encode a merged file")?;
                }
                Merged::End => break,
                Merged::Unsorted => return Ok(Sorted::Unsorted),
            }
        }
        read.merge(merge.read());
        drop(merge);
        let file = encoder.finish().step("encode a merged file")?;
        self.prove(&file, read)?;
        Ok(Sorted::Done(MergedFile {
            file,
            tags,
            checksum: read,
        }))
    }

    /// Reads the encoded file back: as many rows as the log promises of its inputs, the same rows, in order.
    fn prove(&self, file: &EncodedFile, read: Checksum) -> Result<()> {
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
        let mut written = Checksum::default();
        let mut rows = FileRows::open(self.table.name(), "a merged file", file.bytes().clone(), &self.schema)?;
        let mut before: Option<(super::order::Keys, usize)> = None;
        while let Some(batch) = rows.next()? {
            written.add(&batch)?;
            let keys = self.order.keys(&batch)?;
            let follows = before
                .as_ref()
                .is_none_or(|(before, last)| before.compare(*last, &keys, 0).is_le());
            if !follows || !keys.is_sorted(batch.num_rows()) {
                return broken("a merged file is out of order".into());
            }
            before = Some((keys, batch.num_rows() - 1));
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
            schema: table.spec().file_schema(),
            order: RowOrder::of(table.spec()),
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

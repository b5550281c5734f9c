//! The stage that encodes data files: one thread, all CPU. Rows go into the open file as they come; what waits in memory is encoded already.
//!
//! Uploads run beside it. Nothing written is a row before the commit; a file whose flush is given up is an orphan, which vacuum removes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use deltalake::kernel::Add;
use ticklake_sql::data_file::{self, EncodedFile, Encoder, FileOptions};
use ticklake_sql::error::chain;
use ticklake_sql::offset_ranges::Gathered;
use ticklake_sql::{ErrorKind, Table};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use super::super::dead_letters::with_ingested_at;
use super::super::status::add;
use super::backoff::Backoff;
use super::message::{BuiltItem, Flush, Written, WrittenFlush};
use super::shared::Shared;
use crate::error::{Error, Result};

/// A flush larger than this becomes several files.
const FILE_BYTES: usize = 128 << 20;

/// An upload under way.
pub struct Upload {
    /// `None` where its flush was given up.
    pub file: JoinHandle<Result<Option<Add>>>,
    /// The records that the file holds.
    pub records: Gathered,
}

/// Runs until build ends, or until commit is gone.
pub fn run(
    shared: &Arc<Shared>,
    runtime: &Handle,
    input: &Receiver<BuiltItem>,
    output: &Sender<Written>,
) -> Result<()> {
    let mut open = OpenFlush::new(0);
    while let Ok(item) = input.recv() {
        let written = match item {
            BuiltItem::Chunk { epoch, .. } if shared.is_stale(epoch) => continue,
            BuiltItem::Chunk { epoch, built } => {
                if open.epoch != epoch {
                    open = OpenFlush::new(epoch);
                }
                open.dead_letters.extend(built.dead_letters);
                if let Some(trades) = built.trades {
                    open.push(shared, runtime, &trades)?;
                }
                continue;
            }
            BuiltItem::Close(flush) => {
                let fresh = OpenFlush::new(flush.epoch);
                let ours = if open.epoch == flush.epoch {
                    std::mem::replace(&mut open, fresh)
                } else {
                    fresh
                };
                Written::Flush(ours.close(shared, runtime, flush)?)
            }
            BuiltItem::Ask(ask) => Written::Ask(ask),
        };
        if output.blocking_send(written).is_err() {
            break;
        }
    }
    Ok(())
}

/// The flush that is being gathered.
struct OpenFlush {
    epoch: u64,
    /// One time of write for all rows of a flush, so that a flush is one partition even at midnight.
    ingested_at_us: Option<i64>,
    file: Option<Encoder>,
    /// The records in `file`.
    records: Gathered,
    uploads: Vec<Upload>,
    rows: u64,
    dead_letters: Vec<RecordBatch>,
}

impl OpenFlush {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ingested_at_us: None,
            file: None,
            records: Gathered::default(),
            uploads: Vec::new(),
            rows: 0,
            dead_letters: Vec::new(),
        }
    }

    fn push(&mut self, shared: &Arc<Shared>, runtime: &Handle, batch: &RecordBatch) -> Result<()> {
        let now_us = *self.ingested_at_us.get_or_insert_with(|| shared.clock.now_us());
        let mut file = match self.file.take() {
            Some(file) => file,
            None => Encoder::new(&shared.trades, FileOptions::default())?,
        };
        self.rows += batch.num_rows() as u64;
        self.records.add(batch)?;
        file.push(&with_ingested_at(&shared.trades.spec().file_schema(), batch, now_us)?)?;
        let full = file.size_bytes() >= FILE_BYTES;
        self.file = Some(file);
        if full {
            self.finish_file(shared, runtime)
        } else {
            Ok(())
        }
    }

    fn finish_file(&mut self, shared: &Arc<Shared>, runtime: &Handle) -> Result<()> {
        if let (Some(file), Some(now_us)) = (self.file.take(), self.ingested_at_us) {
            let file = file.finish()?;
            self.uploads.push(Upload {
                file: runtime.spawn(upload(shared.clone(), self.epoch, now_us, file)),
                records: std::mem::take(&mut self.records),
            });
        }
        Ok(())
    }

    fn close(mut self, shared: &Arc<Shared>, runtime: &Handle, flush: Flush) -> Result<WrittenFlush> {
        self.finish_file(shared, runtime)?;
        Ok(WrittenFlush {
            flush,
            uploads: self.uploads,
            adds: Vec::new(),
            rows: self.rows,
            dead_letters: self.dead_letters,
        })
    }
}

async fn upload(shared: Arc<Shared>, epoch: u64, ingested_at_us: i64, file: EncodedFile) -> Result<Option<Add>> {
    let partition = partition_of(ingested_at_us)?;
    let table = shared.trades.clone();
    until_stored(&shared, &table, epoch, || file.upload(&table, partition.clone())).await
}

/// Writes one file of rows; `None` where the flush is given up meanwhile.
pub async fn write_file(
    shared: &Shared,
    table: &Table,
    epoch: u64,
    ingested_at_us: i64,
    batches: Vec<RecordBatch>,
) -> Result<Option<Add>> {
    let partition = partition_of(ingested_at_us)?;
    let write = || data_file::write(table, partition.clone(), batches.clone(), FileOptions::default());
    until_stored(shared, table, epoch, write).await
}

/// The partition of rows written at `ingested_at_us`.
fn partition_of(ingested_at_us: i64) -> Result<BTreeMap<String, String>> {
    let date = DateTime::from_timestamp_micros(ingested_at_us)
        .ok_or_else(|| Error::Internal(format!("the clock says {ingested_at_us} us, which is no date")))?;
    Ok(BTreeMap::from([(
        "ingest_date".to_owned(),
        date.format("%Y-%m-%d").to_string(),
    )]))
}

/// Repeats `attempt` however often the store refuses. `None` where the flush is given up meanwhile: its commit will not happen.
async fn until_stored<F>(shared: &Shared, table: &Table, epoch: u64, attempt: impl Fn() -> F) -> Result<Option<Add>>
where
    F: Future<Output = ticklake_sql::Result<Add>>,
{
    let mut backoff = Backoff::default();
    loop {
        if shared.is_stale(epoch) || shared.abandon.is_cancelled() {
            return Ok(None);
        }
        match attempt().await {
            Ok(add) => return Ok(Some(add)),
            Err(error) if error.kind() == ErrorKind::Retry => {
                add(&shared.status.retries, 1);
                tracing::warn!(table = %table.name(), error = chain(&error), "the store refuses a data file, trying again");
                shared
                    .status
                    .trouble(&format!("writing a data file of {}: {}", table.name(), chain(&error)));
                if !backoff.wait(&shared.abandon).await {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

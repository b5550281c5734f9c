//! The stage that writes data files. Nothing it writes is a row before the commit; a file whose flush is given up is an orphan, which vacuum removes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use deltalake::kernel::Add;
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{ErrorKind, Table};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::JoinHandle;

use super::super::dead_letters::with_ingested_at;
use super::super::status::add;
use super::backoff::Backoff;
use super::message::{BuiltItem, Flush, Written, WrittenFlush};
use super::shared::Shared;
use crate::error::{Error, Result};

/// Rows wait in memory as columns until they are this large, then become one file. Two such heaps exist at a time: one filling, one being written.
const FILE_MEMORY_BYTES: usize = 96 << 20;

/// Runs until build ends, or until commit is gone.
pub async fn run(shared: Arc<Shared>, mut input: Receiver<BuiltItem>, output: Sender<Written>) -> Result<()> {
    let mut open = OpenFlush::new(0);
    while let Some(item) = input.recv().await {
        let written = match item {
            BuiltItem::Chunk { epoch, .. } if shared.is_stale(epoch) => continue,
            BuiltItem::Chunk { epoch, built } => {
                if open.epoch != epoch {
                    open = OpenFlush::new(epoch);
                }
                open.dead_letters.extend(built.dead_letters);
                if let Some(trades) = built.trades {
                    open.push(&shared, trades).await?;
                }
                continue;
            }
            BuiltItem::Close(flush) => {
                let epoch = flush.epoch;
                let ours = if open.epoch == epoch {
                    std::mem::replace(&mut open, OpenFlush::new(epoch))
                } else {
                    OpenFlush::new(epoch)
                };
                Written::Flush(ours.close(&shared, flush).await?)
            }
            BuiltItem::Ask(ask) => Written::Ask(ask),
        };
        if output.send(written).await.is_err() {
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
    batches: Vec<RecordBatch>,
    bytes: usize,
    rows: u64,
    dead_letters: Vec<RecordBatch>,
    writing: Option<JoinHandle<Result<Option<Add>>>>,
    adds: Vec<Add>,
}

impl OpenFlush {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ingested_at_us: None,
            batches: Vec::new(),
            bytes: 0,
            rows: 0,
            dead_letters: Vec::new(),
            writing: None,
            adds: Vec::new(),
        }
    }

    async fn push(&mut self, shared: &Arc<Shared>, batch: RecordBatch) -> Result<()> {
        let now_us = *self.ingested_at_us.get_or_insert_with(|| shared.clock.now_us());
        self.rows += batch.num_rows() as u64;
        self.bytes += batch.get_array_memory_size();
        self.batches
            .push(with_ingested_at(&shared.trades.spec().file_schema(), &batch, now_us)?);
        if self.bytes >= FILE_MEMORY_BYTES {
            self.start_file(shared).await?;
        }
        Ok(())
    }

    /// Begins to write what is gathered, after the file before it is done.
    async fn start_file(&mut self, shared: &Arc<Shared>) -> Result<()> {
        self.await_file().await?;
        let batches = std::mem::take(&mut self.batches);
        self.bytes = 0;
        if let Some(now_us) = self.ingested_at_us
            && !batches.is_empty()
        {
            let (shared, epoch) = (shared.clone(), self.epoch);
            self.writing = Some(tokio::spawn(async move {
                let table = shared.trades.clone();
                write_file(&shared, &table, epoch, now_us, batches).await
            }));
        }
        Ok(())
    }

    async fn await_file(&mut self) -> Result<()> {
        if let Some(writing) = self.writing.take() {
            let add = writing
                .await
                .map_err(|error| Error::Internal(format!("writing a data file ended early: {error}")))??;
            self.adds.extend(add);
        }
        Ok(())
    }

    async fn close(mut self, shared: &Arc<Shared>, flush: Flush) -> Result<WrittenFlush> {
        self.start_file(shared).await?;
        self.await_file().await?;
        Ok(WrittenFlush {
            flush,
            adds: self.adds,
            rows: self.rows,
            dead_letters: self.dead_letters,
        })
    }
}

/// Writes one file, however often the store refuses. `None` where the flush is given up meanwhile: its commit will not happen.
pub async fn write_file(
    shared: &Shared,
    table: &Table,
    epoch: u64,
    ingested_at_us: i64,
    batches: Vec<RecordBatch>,
) -> Result<Option<Add>> {
    let date = DateTime::from_timestamp_micros(ingested_at_us)
        .ok_or_else(|| Error::Internal(format!("the clock says {ingested_at_us} us, which is no date")))?
        .format("%Y-%m-%d")
        .to_string();
    let mut backoff = Backoff::default();
    loop {
        if shared.is_stale(epoch) || shared.abandon.is_cancelled() {
            return Ok(None);
        }
        let partition = BTreeMap::from([("ingest_date".to_owned(), date.clone())]);
        match data_file::write(table, partition, batches.clone(), FileOptions::default()).await {
            Ok(add) => return Ok(Some(add)),
            Err(error) if error.kind() == ErrorKind::Retry => {
                add(&shared.status.retries, 1);
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

/// The error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors print their cause themselves.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

//! What a writer must know of a table, from the newest checkpoint and the entries after it: version, positions, protocol, schema. Never the list of files.
//!
//! Only the few small columns of the checkpoint are read, so opening costs the same with ten files and with a million.

use std::collections::HashMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null, or};
use deltalake::kernel::Action;
use deltalake::logstore::parquet_reader::ParquetObjectReader;
use deltalake::logstore::{LogStoreRef, get_actions};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use serde::Deserialize;

use crate::{Error, Result, TableName};

/// Entries fetched at once while catching up.
const READ_AHEAD: usize = 16;
/// What this writer can honour. Others (appendOnly, constraints, column mapping, row tracking) are refused when a table asks for them.
const WRITER_VERSION: i64 = 2;
const READER_VERSION: i64 = 1;
const COLUMNS: [&str; 3] = ["txn", "metaData", "protocol"];

/// The state of a log at one version, without its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogState {
    pub version: u64,
    pub positions: HashMap<String, i64>,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    pub configuration: HashMap<String, String>,
    /// The whole metaData action.
    pub metadata: serde_json::Value,
    reader_version: i64,
    writer_version: i64,
}

/// What `_last_checkpoint` says.
#[derive(Deserialize)]
pub(crate) struct LastCheckpoint {
    pub version: u64,
    pub parts: Option<u64>,
    /// Actions in it.
    pub size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    schema_string: String,
    #[serde(default)]
    partition_columns: Vec<String>,
    #[serde(default)]
    configuration: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protocol {
    min_reader_version: i64,
    min_writer_version: i64,
}

impl LogState {
    /// `None` where there is no table.
    pub async fn read(table: &TableName, log_store: &LogStoreRef) -> Result<Option<Self>> {
        let mut state = Self::default();
        let next = match newest_checkpoint(table, log_store).await? {
            Some((version, files)) => {
                for file in files {
                    state.take_checkpoint(table, log_store, file).await?;
                }
                state.version = version;
                version + 1
            }
            None => 0,
        };
        let read = state.catch_up(table, log_store, next).await?;
        if next == 0 && read == 0 {
            return Ok(None);
        }
        if state.schema_string.is_empty() || state.writer_version == 0 {
            let message = format!("its log holds no metadata up to version {}", state.version);
            return Err(Error::Data {
                table: table.clone(),
                message,
            });
        }
        Ok(Some(state))
    }

    /// The state at `version`, which must exist. `Error::Data` where log clean-up has left no way to tell.
    pub async fn read_at(table: &TableName, log_store: &LogStoreRef, version: u64) -> Result<Self> {
        let mut state = Self::default();
        let next = match listed_checkpoint(table, log_store, Some(version)).await? {
            Some((checkpoint, files)) => {
                for file in files {
                    state.take_checkpoint(table, log_store, file).await?;
                }
                checkpoint + 1
            }
            None => 0,
        };
        for version in next..=version {
            let actions = read_actions(table, log_store, version)
                .await?
                .ok_or_else(|| Error::Data {
                    table: table.clone(),
                    message: format!("entry {version} of its log is gone"),
                })?;
            actions.into_iter().try_for_each(|action| state.apply(table, action))?;
        }
        state.version = version;
        Ok(state)
    }

    /// Takes over the entries from `next` on; returns how many there were.
    pub async fn catch_up(&mut self, table: &TableName, log_store: &LogStoreRef, next: u64) -> Result<u64> {
        let mut entries = stream::iter(next..)
            .map(|version| async move {
                read_actions(table, log_store, version)
                    .await
                    .map(|a| a.map(|a| (version, a)))
            })
            .buffered(READ_AHEAD);
        let mut read = 0;
        while let Some((version, actions)) = entries.try_next().await?.flatten() {
            actions.into_iter().try_for_each(|action| self.apply(table, action))?;
            self.version = version;
            read += 1;
        }
        Ok(read)
    }

    pub fn apply(&mut self, table: &TableName, action: Action) -> Result<()> {
        let data = |e: serde_json::Error| Error::Data {
            table: table.clone(),
            message: format!("its log cannot be read: {e}"),
        };
        match action {
            Action::Txn(txn) => {
                self.positions.insert(txn.app_id, txn.version);
            }
            Action::Metadata(metadata) => {
                self.metadata = serde_json::to_value(metadata).map_err(data)?;
                let metadata = Metadata::deserialize(&self.metadata).map_err(data)?;
                self.schema_string = metadata.schema_string;
                self.partition_columns = metadata.partition_columns;
                self.configuration = metadata.configuration;
            }
            Action::Protocol(protocol) => {
                let protocol: Protocol = serde_json::to_value(protocol)
                    .and_then(serde_json::from_value)
                    .map_err(data)?;
                self.reader_version = protocol.min_reader_version;
                self.writer_version = protocol.min_writer_version;
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses tables whose protocol or settings ask for what this writer does not do.
    pub fn check_writable(&self, table: &TableName) -> Result<()> {
        let refuse = |message: String| {
            Err(Error::Data {
                table: table.clone(),
                message,
            })
        };
        if self.reader_version > READER_VERSION || self.writer_version > WRITER_VERSION {
            return refuse(format!(
                "needs Delta reader version {} and writer version {}; ticklake writes tables of {READER_VERSION} and {WRITER_VERSION}",
                self.reader_version, self.writer_version
            ));
        }
        if self.configuration.get("delta.appendOnly").is_some_and(|v| v == "true") {
            return refuse("has delta.appendOnly set: unset it, retention must be able to remove files".into());
        }
        if self.configuration.contains_key("delta.setTransactionRetentionDuration") {
            return refuse(
                "has delta.setTransactionRetentionDuration set: unset it, it expires recorded positions".into(),
            );
        }
        Ok(())
    }

    async fn take_checkpoint(&mut self, table: &TableName, log_store: &LogStoreRef, file: Path) -> Result<()> {
        let failed = |source| Error::Parquet {
            what: "cannot read the checkpoint",
            table: table.clone(),
            source,
        };
        let store = log_store.object_store(None);
        let size = store
            .head(&file)
            .await
            .map_err(|e| store_error("cannot read the checkpoint", &file, e))?
            .size;
        let reader = ParquetObjectReader::new(store, file).with_file_size(size);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let mut batches = builder.with_projection(mask).build().map_err(failed)?;
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            for action in actions(&batch).map_err(|e| Error::Data {
                table: table.clone(),
                message: format!("its checkpoint cannot be read: {e}"),
            })? {
                self.apply(table, action)?;
            }
        }
        Ok(())
    }
}

/// The rows of a checkpoint batch that hold a txn, metaData or protocol, as actions.
fn actions(batch: &RecordBatch) -> Result<Vec<Action>, Box<dyn std::error::Error + Send + Sync>> {
    let mut wanted: Option<BooleanArray> = None;
    for column in batch.columns() {
        let present = is_not_null(column.as_ref())?;
        wanted = Some(match wanted {
            Some(others) => or(&others, &present)?,
            None => present,
        });
    }
    let Some(wanted) = wanted.filter(|w| w.true_count() > 0) else {
        return Ok(Vec::new());
    };
    let mut json = arrow::json::LineDelimitedWriter::new(Vec::new());
    json.write(&filter_record_batch(batch, &wanted)?)?;
    json.finish()?;
    Ok(get_actions(0, &json.into_inner().into())?)
}

/// The actions of one entry, `None` where it does not exist.
pub(crate) async fn read_actions(
    table: &TableName,
    log_store: &LogStoreRef,
    version: u64,
) -> Result<Option<Vec<Action>>> {
    match log_store
        .read_commit_entry(version)
        .await
        .map_err(|e| delta_error("cannot read the log", table, e))?
    {
        Some(bytes) => get_actions(version, &bytes).map(Some).map_err(|e| Error::Data {
            table: table.clone(),
            message: format!("entry {version} of its log cannot be read: {e}"),
        }),
        None => Ok(None),
    }
}

/// Version and files of the newest whole checkpoint: by the hint, and where that fails by a listing.
async fn newest_checkpoint(table: &TableName, log_store: &LogStoreRef) -> Result<Option<(u64, Vec<Path>)>> {
    if let Some(LastCheckpoint { version, parts, .. }) = checkpoint_hint(log_store).await? {
        let files = checkpoint_files(version, parts);
        let mut whole = true;
        for file in &files {
            whole &= exists(log_store, file).await?;
        }
        if whole {
            return Ok(Some((version, files)));
        }
    } else if exists(log_store, &deltalake::logstore::commit_uri_from_version(Some(0))).await? {
        return Ok(None);
    }
    listed_checkpoint(table, log_store, None).await
}

/// The newest checkpoint, not above `limit`, that a listing shows.
async fn listed_checkpoint(
    table: &TableName,
    log_store: &LogStoreRef,
    limit: Option<u64>,
) -> Result<Option<(u64, Vec<Path>)>> {
    let store = log_store.object_store(None);
    let log = Path::from("_delta_log");
    let mut listing = store.list(Some(&log));
    let mut newest = None;
    while let Some(meta) = listing
        .try_next()
        .await
        .map_err(|e| store_error("cannot list the log", &log, e))?
    {
        let version = meta
            .location
            .filename()
            .and_then(|n| n.strip_suffix(".checkpoint.parquet"))
            .and_then(|n| n.parse::<u64>().ok());
        newest = newest.max(version.filter(|version| limit.is_none_or(|limit| *version <= limit)));
    }
    tracing::debug!(%table, ?newest, "checkpoint found by listing");
    Ok(newest.map(|version| (version, checkpoint_files(version, None))))
}

/// A damaged hint is none: it is only a hint.
pub(crate) async fn checkpoint_hint(log_store: &LogStoreRef) -> Result<Option<LastCheckpoint>> {
    let path = Path::from("_delta_log").join("_last_checkpoint");
    let bytes = match log_store.object_store(None).get(&path).await {
        Ok(found) => found
            .bytes()
            .await
            .map_err(|e| store_error("cannot read the checkpoint hint", &path, e))?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(store_error("cannot read the checkpoint hint", &path, e)),
    };
    Ok(serde_json::from_slice(&bytes).ok())
}

fn checkpoint_files(version: u64, parts: Option<u64>) -> Vec<Path> {
    let log = Path::from("_delta_log");
    match parts {
        None => vec![log.join(format!("{version:020}.checkpoint.parquet"))],
        Some(parts) => (1..=parts)
            .map(|part| {
                log.clone()
                    .join(format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"))
            })
            .collect(),
    }
}

pub(crate) async fn exists(log_store: &LogStoreRef, path: &Path) -> Result<bool> {
    match log_store.object_store(None).head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(e) => Err(store_error("cannot look", path, e)),
    }
}

pub(crate) fn store_error(what: &'static str, path: &Path, source: object_store::Error) -> Error {
    Error::Store {
        what,
        location: path.to_string(),
        source,
    }
}

pub(crate) fn delta_error(what: &'static str, table: &TableName, source: deltalake::DeltaTableError) -> Error {
    match source {
        deltalake::DeltaTableError::ObjectStore { source } => Error::Store {
            what,
            location: table.to_string(),
            source,
        },
        source => Error::Delta {
            what,
            table: table.clone(),
            source: Box::new(source),
        },
    }
}

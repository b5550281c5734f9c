//! The store against the log: every active file exists and has its size, then each one is opened once, its footer held against its Add, and
//! its columns handed on in batches. Files are read side by side; what they hold is never in memory at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use serde_json::json;
use ticklake_sql::Table;

use super::report::{Difference, Report, at};
use super::statistics;
use crate::silver::file_reader::FileReader;
use crate::silver::read::off_runtime;
use crate::{Error, Result};

/// Rows of a batch while decoding.
const BATCH_ROWS: usize = 64 * 1024;

/// A report that several readers write to.
pub type Shared = Arc<Mutex<Report>>;

pub fn differ(report: &Shared, count: u64, difference: Difference) {
    report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .differ(count, difference);
}

pub fn file_at(table: &Table, path: &str) -> serde_json::Map<String, serde_json::Value> {
    at(&[("file", json!(format!("{}/{path}", table.name().path())))])
}

/// The files of `adds` that are there with the recorded size; the others are named.
pub async fn present(table: &Table, adds: &[Add], report: &Shared) -> Result<Vec<Add>> {
    let listed = sizes(table).await?;
    let mut present = Vec::with_capacity(adds.len());
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for add in adds {
        let times = seen.entry(&add.path).or_insert(0);
        *times += 1;
        if *times > 1 {
            continue;
        }
        let recorded = u64::try_from(add.size).unwrap_or(0);
        let (check, what) = match listed.get(path(add).as_ref()) {
            Some(size) if *size == recorded => {
                present.push(add.clone());
                continue;
            }
            Some(size) if *size < recorded => (
                "file_size",
                format!("the file has {size} bytes, shorter than the {recorded} of its Add"),
            ),
            Some(size) => (
                "file_size",
                format!("the file has {size} bytes, longer than the {recorded} of its Add"),
            ),
            None => (
                "file_missing",
                "the log lists a file that is not in the store".to_owned(),
            ),
        };
        let difference = Difference {
            check,
            table: table.name().to_string(),
            at: file_at(table, &add.path),
            what,
        };
        differ(report, 1, difference);
    }
    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
    report.files += adds.len() as u64;
    report.bytes += present
        .iter()
        .map(|add| u64::try_from(add.size).unwrap_or(0))
        .sum::<u64>();
    Ok(present)
}

pub(super) fn path(add: &Add) -> Path {
    Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str()))
}

/// Every object of the table but its log.
pub(super) async fn sizes(table: &Table) -> Result<HashMap<String, u64>> {
    let store = table.log_store().object_store(None);
    let mut listing = store.list(None);
    let mut sizes = HashMap::new();
    loop {
        match listing.try_next().await {
            Ok(Some(object)) if object.location.as_ref().starts_with("_delta_log/") => {}
            Ok(Some(object)) => {
                sizes.insert(object.location.to_string(), object.size);
            }
            Ok(None) => return Ok(sizes),
            Err(source) => {
                return Err(Error::Read {
                    table: table.name().clone(),
                    path: "its folder".into(),
                    source: Box::new(source),
                });
            }
        }
    }
}

/// Opens each file, holds its footer against its Add, and gives its `columns` to `visit`, batch by batch. A file that cannot be read is named,
/// and left out of the files returned.
pub async fn each<V>(
    table: &Table,
    adds: Vec<Add>,
    columns: &[&'static str],
    at_once: usize,
    report: &Shared,
    visit: V,
) -> Result<Vec<Add>>
where
    V: Fn(&Add, &RecordBatch) -> Result<()> + Send + Sync + 'static,
{
    let visit = Arc::new(visit);
    let reads = adds.into_iter().map(|add| {
        let (table, columns, report, visit) = (table.clone(), columns.to_vec(), report.clone(), visit.clone());
        off_runtime(async move {
            match one(&table, &add, &columns, &report, visit.as_ref()).await {
                Ok(()) => Ok(Some(add)),
                Err(Error::Decode { source, .. }) => {
                    let difference = Difference {
                        check: "file_unreadable",
                        table: table.name().to_string(),
                        at: file_at(&table, &add.path),
                        what: format!("the file cannot be read: {source}"),
                    };
                    differ(&report, 1, difference);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
    });
    let read: Vec<Option<Add>> = stream::iter(reads)
        .buffer_unordered(at_once.max(1))
        .try_collect()
        .await?;
    Ok(read.into_iter().flatten().collect())
}

async fn one<V>(table: &Table, add: &Add, columns: &[&'static str], report: &Shared, visit: &V) -> Result<()>
where
    V: Fn(&Add, &RecordBatch) -> Result<()>,
{
    let failed = |source| decode(table, add, source);
    let store = table.log_store().object_store(None);
    let reader = FileReader::new(store, path(add), u64::try_from(add.size).unwrap_or(0));
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
    statistics::check(table, add, builder.metadata(), report);
    if columns.is_empty() {
        return Ok(());
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let mut batches = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        visit(add, &batch)?;
    }
    Ok(())
}

/// A failed request is the store's business; anything else is in the file.
fn decode(table: &Table, add: &Add, source: parquet::errors::ParquetError) -> Error {
    use parquet::errors::ParquetError;
    let (table, path) = (table.name().clone(), add.path.clone());
    match source {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(source) => Error::Read { table, path, source },
            Err(cause) => Error::Decode {
                table,
                path,
                source: ParquetError::External(cause),
            },
        },
        source => Error::Decode { table, path, source },
    }
}

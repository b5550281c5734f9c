//! Files of pinned versions to another lake: data first, then the log up to that version, its first missing entry last of all, so that a copy that was
//! cut short is no table yet or the older one. Files never change under their name, so what is there already is not copied again: a second copy only brings what is new.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use ticklake_sql::{Lake, Table, TableName};

use super::owed::owed;
use super::pin::{Pinned, pinned};
use crate::error::Step;
use crate::verify::Snapshot;
use crate::{Error, Result};

/// Files under way at once.
const FILES_AT_ONCE: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    pub table: TableName,
    pub version: u64,
    pub files: u64,
    pub bytes: u64,
    /// Of these, what was not there yet.
    pub copied_files: u64,
    pub copied_bytes: u64,
}

/// Copies the `wanted` tables (none: all) from one lake to another. Refused where the target holds a table that goes beyond the copy.
pub async fn copy(from: &Lake, to: &Lake, wanted: &[TableName]) -> Result<Vec<CopiedTable>> {
    let pinned = pinned(from, wanted).await?;
    if let Some(missing) = wanted
        .iter()
        .find(|name| pinned.iter().all(|pinned| pinned.table.name() != *name))
    {
        return Err(Error::Invalid(format!(
            "there is no table {missing} in the lake at {}",
            from.uri()
        )));
    }
    if pinned.is_empty() {
        return Err(Error::Invalid(format!(
            "there are no tables in the lake at {}",
            from.uri()
        )));
    }
    for Pinned { table, version, .. } in &pinned {
        refuse_other(from, to, table, *version).await?;
    }
    let mut copied = Vec::with_capacity(pinned.len());
    for pinned in &pinned {
        copied.push(copy_table(from, to, pinned).await?);
    }
    Ok(copied)
}

/// The target holds nothing, or an earlier copy of the same table.
async fn refuse_other(from: &Lake, to: &Lake, table: &Table, version: u64) -> Result<()> {
    let Some(there) = to.find_table(table.name()).await.step("open a table")? else {
        return Ok(());
    };
    let there = there
        .latest_version(None)
        .await
        .step("find the newest version of a table")?;
    let refuse = |why: String| {
        let name = table.name();
        Err(Error::Invalid(format!(
            "{name} in the lake at {} {why}: name an empty place",
            to.uri()
        )))
    };
    if there > version {
        return refuse(format!("is at version {there}, beyond the copy's {version}"));
    }
    let (here, there_too) = (entry(from, table, there).await?, entry(to, table, there).await?);
    if here.is_some() && there_too.is_some() && here != there_too {
        return refuse(format!("has another version {there}: it is no copy of this one"));
    }
    Ok(())
}

/// An entry of the log as it stands; `None` where log clean-up has taken it.
async fn entry(lake: &Lake, table: &Table, version: u64) -> Result<Option<bytes::Bytes>> {
    let path = Path::from(table.name().path())
        .join("_delta_log")
        .join(format!("{version:020}.json"));
    let failed = |error| store_error(table, path.as_ref(), error);
    match lake.object_store().get(&path).await {
        Ok(object) => object.bytes().await.map(Some).map_err(failed),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

async fn copy_table(from: &Lake, to: &Lake, pinned: &Pinned) -> Result<CopiedTable> {
    let (table, version) = (&pinned.table, pinned.version);
    let root = Path::from(table.name().path());
    let there = sizes(to, table, &root).await?;
    let mut files = files(from, pinned, &root).await?;
    let mut copied = CopiedTable {
        table: table.name().clone(),
        version,
        files: files.len() as u64,
        bytes: files.iter().map(|(_, size)| size).sum(),
        copied_files: 0,
        copied_bytes: 0,
    };
    files.retain(|(path, size)| there.get(path) != Some(size));
    copied.copied_files = files.len() as u64;
    copied.copied_bytes = files.iter().map(|(_, size)| size).sum();
    let stores = Stores {
        from: from.object_store(),
        to: to.object_store(),
        part_bytes: to.storage().part_bytes,
    };
    carry(table, &stores, files.into_iter().map(|(path, _)| path).collect()).await?;
    let log = log_files(from, table, &root, version, &there).await?;
    // Its files are those of `version` alone, so no version before it may be seen: all entries but the first missing one, and then that.
    let mut entries = log.entries;
    let first = entries.first().cloned();
    entries.retain(|entry| Some(entry) != first.as_ref());
    carry(table, &stores, entries).await?;
    for published in first.into_iter().chain(log.checkpoints).chain(log.hint) {
        carry(table, &stores, vec![published]).await?;
    }
    Ok(copied)
}

/// Path in the lake and size of what the version holds, and of what is still to be read beside it.
async fn files(from: &Lake, pinned: &Pinned, root: &Path) -> Result<Vec<(Path, u64)>> {
    let (table, version) = (&pinned.table, pinned.version);
    let snapshot = Snapshot::pinned(table, version).await?;
    let mut owed = owed(table, pinned.unread, version).await?;
    let mut files: Vec<(Path, u64)> = Vec::with_capacity(snapshot.adds.len());
    let place =
        |path: &str| Path::parse(format!("{root}/{path}")).map_err(|error| store_error(table, path, error.into()));
    for add in &snapshot.adds {
        owed.remove(&add.path);
        files.push((place(&add.path)?, u64::try_from(add.size).unwrap_or(0)));
    }
    if !owed.is_empty() {
        // What is gone here, a refresh would miss here too: a table set back to before a vacuum, say.
        let there = sizes(from, table, root).await?;
        for path in &owed {
            let path = place(path)?;
            files.extend(there.get(&path).map(|size| (path.clone(), *size)));
        }
    }
    Ok(files)
}

/// Size of every object of the table by its path in the lake.
async fn sizes(lake: &Lake, table: &Table, root: &Path) -> Result<HashMap<Path, u64>> {
    let listed: Vec<_> = lake
        .object_store()
        .list(Some(root))
        .try_collect()
        .await
        .map_err(|error| store_error(table, root.as_ref(), error))?;
    Ok(listed
        .into_iter()
        .map(|object| (object.location, object.size))
        .collect())
}

/// What is missing of a log.
struct LogFiles {
    /// In their order.
    entries: Vec<Path>,
    /// Newest first: where log clean-up has taken the entries before it, a checkpoint is what makes a version seen.
    checkpoints: Vec<Path>,
    hint: Option<Path>,
}

/// The log up to `version`; the hint only where it does not point beyond. What is there already is left out, but the hint.
async fn log_files(
    lake: &Lake,
    table: &Table,
    root: &Path,
    version: u64,
    there: &HashMap<Path, u64>,
) -> Result<LogFiles> {
    let log = root.clone().join("_delta_log");
    let listed = sizes(lake, table, &log).await?;
    let (mut entries, mut checkpoints) = (Vec::new(), Vec::new());
    for (path, size) in listed {
        let name = path.filename().unwrap_or_default().to_owned();
        let Some(number) = name.split('.').next().and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        if number <= version && there.get(&path) != Some(&size) {
            let files = if name.ends_with(".json") {
                &mut entries
            } else {
                &mut checkpoints
            };
            files.push((number, path));
        }
    }
    entries.sort();
    checkpoints.sort_by(|a, b| b.cmp(a));
    let paths = |files: Vec<(u64, Path)>| files.into_iter().map(|(_, path)| path).collect();
    let mut files = LogFiles {
        entries: paths(entries),
        checkpoints: paths(checkpoints),
        hint: None,
    };
    let hint = log.join("_last_checkpoint");
    let failed = |error| store_error(table, hint.as_ref(), error);
    let bytes = match lake.object_store().get(&hint).await {
        Ok(object) => object.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(files),
        Err(error) => return Err(failed(error)),
    };
    let of: Option<u64> = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|hint| hint.get("version")?.as_u64());
    if of.is_some_and(|of| of <= version) {
        files.hint = Some(hint);
    }
    Ok(files)
}

struct Stores {
    from: Arc<dyn ObjectStore>,
    to: Arc<dyn ObjectStore>,
    /// What is larger is carried in parts.
    part_bytes: usize,
}

/// Several at once, in no order.
async fn carry(table: &Table, stores: &Stores, paths: Vec<Path>) -> Result<()> {
    stream::iter(paths)
        .map(|path| async move {
            one(stores, &path)
                .await
                .map_err(|error| store_error(table, path.as_ref(), error))
        })
        .buffer_unordered(FILES_AT_ONCE)
        .try_collect::<()>()
        .await
}

async fn one(stores: &Stores, path: &Path) -> object_store::Result<()> {
    let Stores { from, to, part_bytes } = stores;
    let object = from.get(path).await?;
    if object.meta.size <= *part_bytes as u64 {
        let bytes = object.bytes().await?;
        return to.put(path, bytes.into()).await.map(drop);
    }
    let mut bytes = object.into_stream();
    let mut upload = WriteMultipart::new_with_chunk_size(to.put_multipart(path).await?, *part_bytes);
    while let Some(chunk) = bytes.try_next().await? {
        upload.wait_for_capacity(2).await?;
        upload.put(chunk);
    }
    upload.finish().await.map(drop)
}

fn store_error(table: &Table, path: &str, source: object_store::Error) -> Error {
    Error::Read {
        table: table.name().clone(),
        path: path.to_owned(),
        source: Box::new(source),
    }
}

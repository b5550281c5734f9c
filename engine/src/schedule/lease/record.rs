//! Who took a job last: `jobs/<job>/<token>`, of which the greatest token counts. Made once, by a conditional put; its maker may say in it
//! that it has ended.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use super::FOLDER;
use super::holder::{Holder, lease_error};
use super::process::Process;
use crate::Result;

/// Digits of a token in a name: names then sort as tokens do.
const DIGITS: usize = 19;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names the object that shows whether it lives.
    pub holder: String,
    pub process: Process,
    /// How long it must be silent.
    pub time_ms: u64,
    /// It has ended and holds the job no more.
    pub ended: bool,
}

impl Record {
    pub fn of(holder: &Holder, ended: bool) -> Self {
        Self {
            holder: holder.id().to_owned(),
            process: holder.process().clone(),
            time_ms: u64::try_from(holder.time().as_millis()).unwrap_or(u64::MAX),
            ended,
        }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| crate::Error::Internal(format!("a lease cannot be written: {error}")))
    }
}

fn folder(job: &str) -> Path {
    Path::from(format!("{FOLDER}/jobs")).join(job)
}

fn path(job: &str, token: i64) -> Path {
    folder(job).join(format!("{token:0DIGITS$}"))
}

/// Tokens that were given for `job` and not swept away, the greatest last.
pub async fn tokens(store: &dyn ObjectStore, job: &str) -> Result<Vec<i64>> {
    let folder = folder(job);
    let found = match store.list(Some(&folder)).try_collect::<Vec<_>>().await {
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        found => found.map_err(|source| lease_error("look who runs a job", &folder, source))?,
    };
    let token = |object: &object_store::ObjectMeta| object.location.filename()?.parse().ok();
    let mut tokens: Vec<i64> = found.iter().filter_map(token).collect();
    tokens.sort_unstable();
    Ok(tokens)
}

/// None where it is gone again, or cannot be read as ours.
pub async fn read(store: &dyn ObjectStore, job: &str, token: i64) -> Result<Option<Record>> {
    let path = path(job, token);
    let failed = |source| lease_error("look who runs a job", &path, source);
    let bytes = match store.get(&path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        found => found.map_err(failed)?.bytes().await.map_err(failed)?,
    };
    Ok(serde_json::from_slice(&bytes).ok())
}

/// False: another process was first.
pub async fn create(store: &dyn ObjectStore, job: &str, token: i64, record: &Record) -> Result<bool> {
    let path = path(job, token);
    match store
        .put_opts(&path, record.bytes()?.into(), PutOptions::from(PutMode::Create))
        .await
    {
        Ok(_) => Ok(true),
        // The store's client repeats a put whose answer was lost, and then meets its own first attempt.
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            Ok(read(store, job, token).await?.as_ref() == Some(record))
        }
        Err(source) => Err(lease_error("take a job over", &path, source)),
    }
}

/// Its maker says that it has ended.
pub async fn end(store: &dyn ObjectStore, job: &str, token: i64, record: &Record) -> Result<()> {
    let path = path(job, token);
    let put = store.put(&path, record.bytes()?.into()).await;
    put.map(drop)
        .map_err(|source| lease_error("give a job up", &path, source))
}

/// Those that no longer count. What stays is swept away next time.
pub async fn sweep(store: &dyn ObjectStore, job: &str, tokens: &[i64]) {
    for token in tokens {
        let _next_time = store.delete(&path(job, *token)).await;
    }
}

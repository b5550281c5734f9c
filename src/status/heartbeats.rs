//! What the roles last said about themselves.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use ticklake_sql::Lake;

use crate::heartbeat::FOLDER;

/// All heartbeats, the newest first. One that cannot be read is left out: it is being replaced or is none of ours.
pub async fn gather(lake: &Lake) -> anyhow::Result<Vec<Value>> {
    let store = lake.object_store();
    let files: Vec<_> = match store.list(Some(&Path::from(FOLDER))).try_collect().await {
        Ok(files) => files,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot list the heartbeats in {}", lake.uri())));
        }
    };
    let mut roles = Vec::new();
    for file in files {
        let Ok(found) = store.get(&file.location).await else {
            continue;
        };
        let Ok(bytes) = found.bytes().await else { continue };
        if let Ok(role) = serde_json::from_slice::<Value>(&bytes) {
            roles.push(role);
        }
    }
    roles.sort_by_key(|role| std::cmp::Reverse(role["at_us"].as_i64().unwrap_or_default()));
    Ok(roles)
}

//! The proof that a store can hold a Delta log: of two conditional puts to one name the second is refused.

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use crate::{Error, Lake, Result};

pub(crate) async fn probe(lake: &Lake) -> Result<()> {
    let store = lake.object_store();
    let path = Path::from("_ticklake")
        .join("probe")
        .join(uuid::Uuid::new_v4().to_string());
    let create = || PutOptions::from(PutMode::Create);
    match store.put_opts(&path, "first".into(), create()).await {
        Ok(_) => {}
        // The store's client repeats a put whose answer was lost, and then meets its own first attempt.
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
            return Err(unfit(lake));
        }
        Err(error) => return Err(lake.unreachable(error)),
    }
    let second = store.put_opts(&path, "second".into(), create()).await;
    let kept = store
        .get(&path)
        .await
        .map_err(|e| lake.unreachable(e))?
        .bytes()
        .await
        .map_err(|e| lake.unreachable(e))?;
    if let Err(error) = lake.delete(&path).await {
        tracing::debug!(%path, %error, "probe object left behind");
    }
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
            if kept == "first" =>
        {
            Ok(())
        }
        Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            Err(unfit(lake))
        }
        Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => Err(unfit(lake)),
        Err(error) => Err(lake.unreachable(error)),
    }
}

fn unfit(lake: &Lake) -> Error {
    Error::Invalid(format!(
        "the store at {} does not refuse a second conditional put (If-None-Match): two writers would lose each other's commits. Ticklake needs conditional puts, use a store that has them",
        lake.uri()
    ))
}

//! From an address to an object store: a folder, `file://`, or a bucket. The one place where stores are opened, with what they are asked counted.
//!
//! Only what the caller passes counts: the environment is never read here. `options` is what every kind of store has in common, the other files are the
//! kinds.

mod options;
mod s3;

#[cfg(feature = "azure")]
mod azure;

#[cfg(feature = "gcs")]
mod gcs;

use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

pub use options::Storage;

use crate::local_disk::LocalDisk;
use crate::requests::{Billing, Counted, Requests};
use crate::{Durability, Error, Result};

/// Several ranges of a file are one read; there is no bill.
const DISK: Billing = Billing {
    list_page: 1_000,
    delete_page: 1_000,
    ranges_at_once: true,
};

/// Where a lake lies: the address with a closing slash, and the store of the whole bucket or disk.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub url: Url,
    pub root: Arc<dyn ObjectStore>,
    /// One put of any size is as good as a multipart upload.
    pub local: bool,
    /// What is asked of `root`; None: of a store that the caller opened.
    pub requests: Option<Arc<Requests>>,
}

impl Location {
    /// Every request to `store` is counted from here on.
    fn counted(url: Url, store: impl ObjectStore, billing: Billing) -> Self {
        let requests = Arc::new(Requests::default());
        Self {
            local: url.scheme() == "file",
            url,
            root: Arc::new(Counted::new(store, requests.clone(), billing)),
            requests: Some(requests),
        }
    }

    pub fn open(uri: &str, storage: &Storage, durability: Durability) -> Result<Self> {
        match uri.split_once("://") {
            Some(("s3" | "s3a", _)) => s3::open(uri, storage),
            #[cfg(feature = "azure")]
            Some(("az" | "azure" | "abfs" | "abfss", _)) => azure::open(uri, storage),
            #[cfg(feature = "gcs")]
            Some(("gs", _)) => gcs::open(uri, storage),
            #[cfg(not(feature = "azure"))]
            Some(("az" | "azure" | "abfs" | "abfss", _)) => Err(left_out(uri, "azure")),
            #[cfg(not(feature = "gcs"))]
            Some(("gs", _)) => Err(left_out(uri, "gcs")),
            Some(("file", _)) => {
                let url =
                    Url::parse(uri).map_err(|e| Error::Invalid(format!("lake address {uri} is not valid: {e}")))?;
                let folder = url.to_file_path().map_err(|()| {
                    Error::Invalid(format!(
                        "lake address {uri} names no folder: write file:///absolute/path or the path alone"
                    ))
                })?;
                folder_at(&folder, durability)
            }
            Some((scheme, _)) => Err(Error::Invalid(format!(
                "lake address {uri} has the unknown scheme {scheme}://: use a folder, file://, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
            ))),
            None if uri.is_empty() => Err(Error::Invalid(
                "the lake's address is empty: name a folder or s3://bucket/prefix".into(),
            )),
            None => folder_at(std::path::Path::new(uri), durability),
        }
    }
}

fn folder_at(folder: &std::path::Path, durability: Durability) -> Result<Location> {
    let invalid = |why: String| Error::Invalid(format!("lake folder {}: {why}", folder.display()));
    let absolute = std::path::absolute(folder).map_err(|e| invalid(e.to_string()))?;
    if absolute.exists() && !absolute.is_dir() {
        return Err(invalid("is a file: name a folder".into()));
    }
    let url = Url::from_directory_path(&absolute).map_err(|()| invalid("is no absolute path".into()))?;
    Ok(Location::counted(url, LocalDisk::new(durability), DISK))
}

/// The address with a slash at its end.
fn closed(uri: &str) -> Result<Url> {
    let mut url = Url::parse(uri).map_err(|e| Error::Invalid(format!("lake address {uri}: {e}")))?;
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn bucket_of(uri: &str, url: &Url) -> Result<String> {
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
    bucket.map(str::to_owned).ok_or_else(|| {
        let scheme = url.scheme();
        Error::Invalid(format!(
            "lake address {uri}: names no bucket: write {scheme}://bucket/prefix"
        ))
    })
}

fn unfit(uri: &str, error: &object_store::Error) -> Error {
    Error::Invalid(format!("lake address {uri}: the storage options do not fit: {error}"))
}

#[cfg(not(all(feature = "azure", feature = "gcs")))]
fn left_out(uri: &str, feature: &str) -> Error {
    Error::Invalid(format!(
        "lake address {uri}: this build leaves that store out: build it with --features {feature}"
    ))
}

#[cfg(test)]
mod tests;

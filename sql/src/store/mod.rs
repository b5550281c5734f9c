//! From an address to an object store: a folder, `file://` or `s3://bucket/prefix` with any endpoint.
//!
//! Only what the caller passes counts: the environment is never read here.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{ObjectStore, RetryConfig};
use url::Url;

use crate::local_disk::LocalDisk;
use crate::requests::{Counted, Requests};
use crate::{Durability, Error, Result};

/// One request is retried this long by the store's client; longer outages are the callers' loops to sit out.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_RETRIES: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
    fn counted(url: Url, store: impl ObjectStore, local: bool) -> Self {
        let requests = Arc::new(Requests::default());
        Self {
            url,
            root: Arc::new(Counted::new(store, requests.clone(), local)),
            local,
            requests: Some(requests),
        }
    }

    pub fn open(uri: &str, storage: &BTreeMap<String, String>, durability: Durability) -> Result<Self> {
        match uri.split_once("://") {
            Some(("s3" | "s3a", _)) => s3(uri, storage),
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
                "lake address {uri} has the unknown scheme {scheme}://: use a folder, file:// or s3://bucket/prefix"
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
    Ok(Location::counted(url, LocalDisk::new(durability), true))
}

fn s3(uri: &str, storage: &BTreeMap<String, String>) -> Result<Location> {
    let invalid = |why: String| Error::Invalid(format!("lake address {uri}: {why}"));
    let mut url = Url::parse(uri).map_err(|e| invalid(e.to_string()))?;
    let bucket = url
        .host_str()
        .filter(|b| !b.is_empty())
        .ok_or_else(|| invalid("names no bucket: write s3://bucket/prefix".into()))?
        .to_owned();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    let client = object_store::ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT);
    let retry = RetryConfig {
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
        ..Default::default()
    };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_bucket_name(bucket);
    for (key, value) in storage {
        match AmazonS3ConfigKey::from_str(&key.to_ascii_lowercase()) {
            Ok(known) => builder = builder.with_config(known, value),
            // The environment's AWS_* hold keys of other tools (AWS_PROFILE, AWS_PAGER); in a configuration a typo is an error.
            Err(_) if key.starts_with("AWS_") => {}
            Err(_) => {
                return Err(Error::Invalid(format!(
                    "storage option {key} is unknown: use an object store key such as aws_endpoint or aws_region"
                )));
            }
        }
    }
    let store = builder
        .build()
        .map_err(|e| invalid(format!("the storage options do not fit: {e}")))?;
    Ok(Location::counted(url, store, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: &str) {
        let opened = Location::open(uri, &BTreeMap::new(), Durability::Os).map(|l| l.url.to_string());
        let text = opened.unwrap_or_else(|e| e.to_string());
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn addresses() {
        check("/tmp/a lake", "file:///tmp/a%20lake/");
        check("file:///tmp/lake", "file:///tmp/lake/");
        check("s3://bucket/a/b", "s3://bucket/a/b/");
        check("gs://bucket", "unknown scheme gs://");
        check("", "is empty");
        check("s3:///prefix", "names no bucket");
        check(file!().trim_start_matches("sql/"), "is a file");
    }

    #[test]
    fn options_of_other_tools_pass_and_typos_do_not() {
        let open = |key: &str| {
            Location::open(
                "s3://b/p",
                &BTreeMap::from([(key.to_owned(), "true".to_owned())]),
                Durability::Os,
            )
        };
        for key in [
            "AWS_PAGER",
            "AWS_ALLOW_HTTP",
            "aws_allow_http",
            "allow_http",
            "AWS_ENDPOINT_URL",
        ] {
            open(key).unwrap();
        }
        assert!(
            open("aws_endpont")
                .unwrap_err()
                .to_string()
                .contains("aws_endpont is unknown")
        );
    }
}

//! How a store is reached and how patient its client is, whatever its kind.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use object_store::{ClientOptions, RetryConfig};

use crate::{Error, Result};

/// Prefixes of the keys that belong to one kind of store. Others count for every kind.
const PREFIXES: [&str; 3] = ["aws_", "azure_", "google_"];

/// Keys, time and patience for one store.
#[derive(Clone, PartialEq, Eq)]
pub struct Storage {
    /// object_store's keys, e.g. `aws_endpoint`, `azure_storage_account_name`, `google_service_account`, `allow_http`. Those that begin with the name of
    /// another kind of store are none of this one's. What stands in capitals comes from an environment and may be another tool's.
    pub keys: BTreeMap<String, String>,
    pub connect_timeout: Duration,
    /// Of one request, from the connection to the last byte of the answer.
    pub request_timeout: Duration,
    /// A request that failed with what may pass is sent again so often, after pauses that double, and no more once `retry_timeout` is over. Longer
    /// outages are the callers' loops to sit out.
    pub max_retries: usize,
    pub retry_timeout: Duration,
    /// A larger file goes up in parts of `part_bytes`: stores take a single put of a few GiB at most, and a failed part is repeated alone.
    pub multipart_bytes: usize,
    pub part_bytes: usize,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            max_retries: 5,
            retry_timeout: Duration::from_secs(20),
            multipart_bytes: 64 << 20,
            part_bytes: 16 << 20,
        }
    }
}

impl From<BTreeMap<String, String>> for Storage {
    fn from(keys: BTreeMap<String, String>) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Storage {
    /// Names the keys, never their values: they hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Storage")
            .field("keys", &keys)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("max_retries", &self.max_retries)
            .field("retry_timeout", &self.retry_timeout)
            .field("multipart_bytes", &self.multipart_bytes)
            .field("part_bytes", &self.part_bytes)
            .finish()
    }
}

impl Storage {
    pub(super) fn client(&self) -> ClientOptions {
        ClientOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_timeout(self.request_timeout)
    }

    pub(super) fn retry(&self) -> RetryConfig {
        RetryConfig {
            max_retries: self.max_retries,
            retry_timeout: self.retry_timeout,
            ..RetryConfig::default()
        }
    }

    /// The keys that count for the kind of store whose own ones begin with `prefix`, with their values; `example` is one of them.
    pub(super) fn keys_of<K: FromStr>(&self, prefix: &str, example: &str) -> Result<Vec<(K, &str)>> {
        let mut known = Vec::new();
        for (key, value) in &self.keys {
            let name = key.to_ascii_lowercase();
            let is_own = name.starts_with(prefix);
            if !is_own && PREFIXES.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            match K::from_str(&name) {
                Ok(known_key) => known.push((known_key, value.as_str())),
                // An environment holds keys of other tools too (AWS_PROFILE, AWS_PAGER); in a configuration a typo is an error.
                Err(_) if is_own && key.starts_with(&prefix.to_ascii_uppercase()) => {}
                Err(_) => {
                    return Err(Error::Invalid(format!(
                        "storage option {key} is unknown: use an object store key such as {example}"
                    )));
                }
            }
        }
        Ok(known)
    }
}

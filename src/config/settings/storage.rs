//! Keys of the object store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::units::{Size, Span};

/// The object store of a lake that is no folder. What is empty comes from the usual `AWS_*`, `AZURE_*` and `GOOGLE_*` variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageSettings {
    /// Address of the store, where it is not the provider's own.
    pub endpoint: String,
    pub allow_http: bool,
    /// `s3://`.
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    /// `az://`, with a key or a SAS token; neither: the machine's managed identity.
    pub account: String,
    pub account_key: String,
    pub sas_token: String,
    /// `gs://`: JSON of a service account or user; empty: the machine's own.
    pub credentials_file: String,
    pub connect_timeout: Span,
    /// Of one request, from the connection to the last byte of its answer.
    pub request_timeout: Span,
    /// A request that failed with what may pass is sent again so often, after pauses that double, and not at all once `retry_timeout` is over.
    pub max_retries: u32,
    pub retry_timeout: Span,
    /// Files above the first go up in parts of the second, 5MiB at least.
    pub multipart_above: Size,
    pub part_size: Size,
    /// Further object_store keys, passed on as they stand.
    pub options: BTreeMap<String, String>,
}

impl Default for StorageSettings {
    fn default() -> Self {
        let empty = String::new();
        Self {
            endpoint: empty.clone(),
            allow_http: false,
            region: empty.clone(),
            access_key_id: empty.clone(),
            secret_access_key: empty.clone(),
            session_token: empty.clone(),
            account: empty.clone(),
            account_key: empty.clone(),
            sas_token: empty.clone(),
            credentials_file: empty,
            connect_timeout: Span::seconds(5),
            request_timeout: Span::seconds(30),
            max_retries: 5,
            retry_timeout: Span::seconds(20),
            multipart_above: Size(64 << 20),
            part_size: Size(16 << 20),
            options: BTreeMap::new(),
        }
    }
}

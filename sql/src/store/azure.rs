//! `az://container/prefix`, or `abfss://container@account.dfs.core.windows.net/prefix`.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::{Billing, Location, Storage, bucket_of, closed, unfit};
use crate::Result;

/// Each delete of a batch is billed as one.
const BILLING: Billing = Billing {
    list_page: 5_000,
    delete_page: 1,
    ranges_at_once: false,
};

pub(super) fn open(uri: &str, storage: &Storage) -> Result<Location> {
    let url = closed(uri)?;
    bucket_of(uri, &url)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(storage.client())
        .with_retry(storage.retry());
    for (key, value) in storage.keys_of::<AzureConfigKey>("azure_", "azure_storage_account_name")? {
        builder = builder.with_config(key, value);
    }
    // Last: an account that the address names counts.
    let store = builder.with_url(uri).build().map_err(|error| unfit(uri, &error))?;
    Ok(Location::counted(url, store, BILLING))
}

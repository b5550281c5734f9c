//! `gs://bucket/prefix`.

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::{Billing, Location, Storage, bucket_of, closed, unfit};
use crate::Result;

const BILLING: Billing = Billing {
    list_page: 1_000,
    delete_page: 1,
    ranges_at_once: false,
};

pub(super) fn open(uri: &str, storage: &Storage) -> Result<Location> {
    let url = closed(uri)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(storage.client())
        .with_retry(storage.retry())
        .with_bucket_name(bucket_of(uri, &url)?);
    for (key, value) in storage.keys_of::<GoogleConfigKey>("google_", "google_service_account")? {
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| unfit(uri, &error))?;
    Ok(Location::counted(url, store, BILLING))
}

//! `s3://bucket/prefix`, with any endpoint.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};

use super::{Billing, Location, Storage, bucket_of, closed, unfit};
use crate::Result;

const BILLING: Billing = Billing {
    list_page: 1_000,
    delete_page: 1_000,
    ranges_at_once: false,
};

pub(super) fn open(uri: &str, storage: &Storage) -> Result<Location> {
    let url = closed(uri)?;
    let mut builder = AmazonS3Builder::new()
        .with_client_options(storage.client())
        .with_retry(storage.retry())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_bucket_name(bucket_of(uri, &url)?);
    for (key, value) in storage.keys_of::<AmazonS3ConfigKey>("aws_", "aws_endpoint or aws_region")? {
        builder = builder.with_config(key, value);
    }
    let store = builder.build().map_err(|error| unfit(uri, &error))?;
    Ok(Location::counted(url, store, BILLING))
}

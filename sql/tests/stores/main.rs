//! The table layer on real servers of S3 and of Azure Blob Storage: what conditional puts promise, and what they are asked to hold.
//!
//! `TICKLAKE_TEST_S3_ENDPOINT` and `AZURITE_BLOB_STORAGE_URL` name the servers (`tests/services/s3.sh start DIR` and `azurite.sh start DIR` print them);
//! without them every test here fails.

#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod objects;
mod places;
mod tables;

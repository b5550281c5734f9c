//! Maintenance killed at every point, and on a real S3 server.
//!
//! `TICKLAKE_TEST_S3_ENDPOINT` names the server (`tests/services/s3.sh start DIR` prints it); without it the tests of S3 fail.

#![cfg(test)]

#[path = "../../src/silver/tests/lake.rs"]
#[allow(dead_code)]
mod lake;

mod kills;
mod release;
mod s3;

//! Addresses and options of every kind of store. What servers make of requests stands in `tests/it/patience.rs` and `tests/stores/`.

use std::collections::BTreeMap;

use super::*;

fn open(uri: &str, keys: &[(&str, &str)]) -> Result<Location> {
    let keys: BTreeMap<String, String> = keys
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Location::open(uri, &keys.into(), Durability::Os)
}

fn check_with(uri: &str, keys: &[(&str, &str)], expected: &str) {
    let opened = open(uri, keys).map(|l| l.url.to_string());
    let text = opened.unwrap_or_else(|e| e.to_string());
    assert!(text.contains(expected), "{text}");
}

fn check(uri: &str, expected: &str) {
    check_with(uri, &[], expected);
}

#[test]
fn addresses() {
    check("/tmp/a lake", "file:///tmp/a%20lake/");
    check("file:///tmp/lake", "file:///tmp/lake/");
    check("s3://bucket/a/b", "s3://bucket/a/b/");
    check("hdfs://bucket", "unknown scheme hdfs://");
    check("", "is empty");
    check("s3:///prefix", "names no bucket");
    check(file!().trim_start_matches("sql/"), "is a file");
}

#[cfg(feature = "azure")]
#[test]
fn addresses_of_azure() {
    let account = [
        ("azure_storage_account_name", "account"),
        ("azure_skip_signature", "true"),
    ];
    check_with("az://container/a/b", &account, "az://container/a/b/");
    check_with("abfss://container@account.dfs.core.windows.net/a", &account[1..], "/a/");
    check("az://container/a", "do not fit");
    check("az:///a", "names no bucket");
}

#[cfg(feature = "gcs")]
#[test]
fn addresses_of_gcs() {
    check_with("gs://bucket/a", &[("google_skip_signature", "true")], "gs://bucket/a/");
    check("gs:///a", "names no bucket");
}

#[cfg(not(feature = "azure"))]
#[test]
fn a_store_that_was_left_out_says_how_to_get_it() {
    check("az://container/a", "--features azure");
}

#[test]
fn options_of_other_tools_and_stores_pass_and_typos_do_not() {
    let open = |key: &str| open("s3://b/p", &[(key, "true")]);
    for key in [
        "AWS_PAGER",
        "AWS_ALLOW_HTTP",
        "aws_allow_http",
        "allow_http",
        "AWS_ENDPOINT_URL",
        "azure_storage_account_key",
        "google_service_account",
    ] {
        open(key).unwrap();
    }
    for typo in ["aws_endpont", "endpont"] {
        let error = open(typo).unwrap_err().to_string();
        assert!(error.contains(&format!("{typo} is unknown")), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let storage = Storage::from(BTreeMap::from([(
        "aws_secret_access_key".to_owned(),
        "hunter2".to_owned(),
    )]));
    let shown = format!("{storage:?}");
    assert!(
        shown.contains("aws_secret_access_key") && !shown.contains("hunter2"),
        "{shown}"
    );
}

//! Which files are meant: paths, folders, globs and objects of a bucket, each once, oldest first as their names tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use ticklake_sql::Storage;
use ticklake_sql::lake::store_at;

use super::BackfillOptions;
use super::checksum::SUFFIX;
use crate::error::Step;
use crate::{Error, Result};

/// A file to load.
#[derive(Debug, Clone)]
pub struct Input {
    /// Absolute path or address in a bucket: the name under which its content is recorded.
    pub address: String,
    pub size_bytes: u64,
    pub location: Location,
}

#[derive(Debug, Clone)]
pub enum Location {
    Local(PathBuf),
    Remote(Arc<dyn ObjectStore>, ObjectPath),
}

impl Input {
    /// The last part of the address.
    pub fn file_name(&self) -> &str {
        self.address.rsplit('/').next().unwrap_or(&self.address)
    }

    /// The date in the file's name.
    pub fn date(&self) -> Option<NaiveDate> {
        date_in(self.file_name())
    }
}

/// Every file that the options name.
pub async fn find(options: &BackfillOptions) -> Result<Vec<Input>> {
    let mut found = BTreeMap::new();
    for path in &options.paths {
        let before = found.len();
        if path.contains("://") && !path.starts_with("file://") {
            remote(path, &options.storage, &mut found).await?;
        } else {
            local(path.strip_prefix("file://").unwrap_or(path), &mut found)?;
        }
        if found.len() == before && !path_was_found(path, &found) {
            return Err(Error::Invalid(format!(
                "no file is at {path}: check the path, or quote the glob"
            )));
        }
    }
    let mut inputs: Vec<Input> = found.into_values().collect();
    inputs.sort_by(|a, b| (a.date(), &a.address).cmp(&(b.date(), &b.address)));
    Ok(inputs)
}

/// Named twice is no mistake.
fn path_was_found(path: &str, found: &BTreeMap<String, Input>) -> bool {
    found.contains_key(path) || std::path::absolute(path).is_ok_and(|path| found.contains_key(&*path.to_string_lossy()))
}

fn local(path: &str, found: &mut BTreeMap<String, Input>) -> Result<()> {
    let as_it_stands = Path::new(path);
    if as_it_stands.is_file() {
        return add_local(as_it_stands, found);
    }
    let pattern = if as_it_stands.is_dir() {
        format!("{}/*", glob::Pattern::escape(path.trim_end_matches('/')))
    } else {
        path.to_owned()
    };
    let matches = glob::glob(&pattern).map_err(|error| Error::Invalid(format!("{path} is no glob: {error}")))?;
    for matching in matches {
        let matching = matching.map_err(|error| {
            let path = error.path().display().to_string();
            Error::Input {
                path,
                source: error.into(),
            }
        })?;
        if matching.is_file() && !is_checksum(&matching.to_string_lossy()) {
            add_local(&matching, found)?;
        }
    }
    Ok(())
}

fn add_local(path: &Path, found: &mut BTreeMap<String, Input>) -> Result<()> {
    let failed = |source| Error::Input {
        path: path.display().to_string(),
        source,
    };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let size_bytes = std::fs::metadata(&absolute).map_err(failed)?.len();
    let address = absolute.to_string_lossy().into_owned();
    found.insert(
        address.clone(),
        Input {
            address,
            size_bytes,
            location: Location::Local(absolute),
        },
    );
    Ok(())
}

async fn remote(address: &str, storage: &Storage, found: &mut BTreeMap<String, Input>) -> Result<()> {
    let has_wildcard = address.contains(['*', '?', '[']);
    // What lies before the first wildcard is a prefix, which a store can list.
    let fixed = match address.find(['*', '?', '[']) {
        Some(wildcard) => address[..wildcard]
            .rsplit_once('/')
            .map_or(address, |(folder, _)| folder),
        None => address,
    };
    let (store, prefix) = store_at(fixed, storage).step("open the bucket to load from")?;
    let bucket = fixed.split('/').take(3).collect::<Vec<_>>().join("/");
    let mut add = |meta: object_store::ObjectMeta| {
        let address = format!("{bucket}/{}", meta.location);
        let location = Location::Remote(store.clone(), meta.location);
        found.insert(
            address.clone(),
            Input {
                address,
                size_bytes: meta.size,
                location,
            },
        );
    };
    if !has_wildcard && let Ok(meta) = store.head(&prefix).await {
        add(meta);
        return Ok(());
    }
    let pattern = if has_wildcard {
        address.to_owned()
    } else {
        format!("{}/*", address.trim_end_matches('/'))
    };
    let pattern =
        glob::Pattern::new(&pattern).map_err(|error| Error::Invalid(format!("{address} is no glob: {error}")))?;
    let exact = glob::MatchOptions {
        require_literal_separator: true,
        ..glob::MatchOptions::new()
    };
    let mut listed = store.list(Some(&prefix));
    while let Some(meta) = listed.try_next().await.map_err(|error| Error::Input {
        path: address.to_owned(),
        source: error.into(),
    })? {
        let candidate = format!("{bucket}/{}", meta.location);
        if pattern.matches_with(&candidate, exact) && !is_checksum(&candidate) {
            add(meta);
        }
    }
    Ok(())
}

fn is_checksum(name: &str) -> bool {
    name.to_ascii_uppercase().ends_with(SUFFIX)
}

/// The first YYYY-MM-DD, YYYYMMDD or YYYY-MM (its first day) in a name that is a date.
pub(crate) fn date_in(name: &str) -> Option<NaiveDate> {
    let parse = |text: &str, format: &str| NaiveDate::parse_from_str(text, format).ok();
    let day = spans(name, 10).find_map(|text| parse(text, "%Y-%m-%d"));
    day.or_else(|| spans(name, 8).find_map(|text| parse(text, "%Y%m%d")))
        .or_else(|| spans(name, 7).find_map(|text| parse(&format!("{text}-01"), "%Y-%m-%d")))
}

/// Stretches of `length` digits and dashes that begin and end with a digit, and with which their digits begin and end.
fn spans(name: &str, length: usize) -> impl Iterator<Item = &str> {
    let is_digit = move |index: Option<usize>| {
        index
            .and_then(|i| name.as_bytes().get(i))
            .is_some_and(u8::is_ascii_digit)
    };
    (0..name.len()).filter_map(move |start| {
        let text = name.get(start..start + length)?;
        let alone = !is_digit(start.checked_sub(1)) && !is_digit(Some(start + length));
        let whole = is_digit(Some(start)) && is_digit(Some(start + length - 1));
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        (alone && whole && plain).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_stand_in_names() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(
                date_in(name).map(|date| date.to_string()).as_deref(),
                expected,
                "{name}"
            );
        };
        check("BTCUSDT-trades-2025-03-25.zip", Some("2025-03-25"));
        check("BTCUSDT-trades-2025-03.zip", Some("2025-03-01"));
        check("aig_tick_20131007.zip", Some("2013-10-07"));
        check("trades.csv", None);
        check("part-123456789012.parquet", None);
        check("x-2025-13-45.csv", None);
    }

    #[tokio::test]
    async fn folders_globs_and_names_give_each_file_once_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-2025-01-02.csv", "b-2025-01-01.csv", "b-2025-01-01.csv.CHECKSUM"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let find = async |paths: Vec<String>| {
            let options = BackfillOptions {
                paths,
                ..BackfillOptions::default()
            };
            find(&options).await
        };
        for paths in [vec![path("")], vec![path("*.csv"), path("a-2025-01-02.csv")]] {
            let names: Vec<String> = find(paths)
                .await
                .unwrap()
                .iter()
                .map(|i| i.file_name().to_owned())
                .collect();
            assert_eq!(names, ["b-2025-01-01.csv", "a-2025-01-02.csv"]);
        }
        assert!(
            find(vec![path("*.zip")])
                .await
                .unwrap_err()
                .to_string()
                .contains("*.zip")
        );
    }
}

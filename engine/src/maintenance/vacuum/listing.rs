//! Files that lie in a table's folder and are in no version that must stay: what a killed writer left behind, and what the daily way missed.

use std::time::Duration;

use chrono::TimeDelta;
use futures::TryStreamExt;
use ticklake_sql::Table;

use super::Doomed;
use super::window::Window;
use crate::{Error, Result};

/// A file is written before the commit that brings it in. No writer of ours takes a day from one to the other.
const YOUNGEST: Duration = Duration::from_secs(24 * 3600);
/// All that this program ever writes as rows; whatever else lies there is someone's.
const SUFFIX: &str = ".parquet";

/// What is to be deleted, and how many files stay only because something derived has still to read them.
pub async fn find(table: &Table, window: &Window) -> Result<(Vec<Doomed>, u64)> {
    let store = table.log_store().object_store(None);
    let failed = |source| Error::Read {
        table: table.name().clone(),
        path: String::new(),
        source: Box::new(source),
    };
    let day = TimeDelta::from_std(YOUNGEST).unwrap_or(TimeDelta::MAX);
    let before = window.before.min(table.lake().clock().now() - day);
    let (mut files, mut held_back) = (Vec::new(), 0);
    let mut listed = store.list(None);
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        let path = object.location.as_ref();
        let is_rows = path.ends_with(SUFFIX) && !path.split('/').any(|part| part.starts_with(['_', '.']));
        if !is_rows || object.last_modified >= before || !window.has_left(path) {
            continue;
        }
        match window.is_owed(path) {
            true => held_back += 1,
            false => files.push(Doomed {
                path: path.to_owned(),
                bytes: object.size,
            }),
        }
    }
    Ok((files, held_back))
}

//! Files that the log says were taken out before the window: the daily way, which lists nothing.

use futures::TryStreamExt;
use object_store::path::Path;
use ticklake_sql::Table;

use super::Doomed;
use super::window::Window;
use crate::maintenance::entries::{committed_at, entries};
use crate::{Error, Result};

/// What entries after `done_to` took out.
#[derive(Debug, Default)]
pub struct Tombstones {
    pub files: Vec<Doomed>,
    pub held_back: u64,
    /// Entries up to here have left the window, and their files are in `files` or gone.
    pub done_to: Option<u64>,
}

/// Reads the log from behind `done_to` up to the first entry inside the window.
pub async fn find(table: &Table, window: &Window, done_to: Option<u64>) -> Result<Tombstones> {
    let oldest = oldest_entry(table).await?.unwrap_or(window.version);
    let from = done_to.map_or(0, |done| done + 1).max(oldest);
    // Removes of unread versions are owed; so are theirs after it, and the next run begins there.
    let to = window
        .unread
        .map_or(window.version, |unread| window.version.min(unread.saturating_sub(1)));
    let mut found = Tombstones {
        done_to,
        ..Tombstones::default()
    };
    if window.unread == Some(0) || from > to {
        return Ok(found);
    }
    let mut entries = entries(table, from, to);
    while let Some((version, entry)) = entries.try_next().await? {
        // An entry without a time of its own ends the search: what it says about age cannot be told.
        if committed_at(entry.as_ref()).is_none_or(|at| at >= window.before) {
            break;
        }
        for remove in entry.into_iter().flat_map(|entry| entry.removes) {
            let file = Doomed {
                bytes: remove.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                path: remove.path,
            };
            if !window.has_left(&file.path) {
                continue;
            }
            match window.is_owed(&file.path) {
                true => found.held_back += 1,
                false => found.files.push(file),
            }
        }
        found.done_to = Some(version);
    }
    Ok(found)
}

/// The least version whose entry still exists.
async fn oldest_entry(table: &Table) -> Result<Option<u64>> {
    let folder = Path::from("_delta_log");
    let store = table.log_store().object_store(None);
    let mut listed = store.list(Some(&folder));
    let mut oldest: Option<u64> = None;
    let failed = |source| Error::Read {
        table: table.name().clone(),
        path: folder.to_string(),
        source: Box::new(source),
    };
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        let version: Option<u64> = object
            .location
            .filename()
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|name| name.parse().ok());
        oldest = match (oldest, version) {
            (Some(oldest), Some(version)) => Some(version.min(oldest)),
            (oldest, version) => oldest.or(version),
        };
    }
    Ok(oldest)
}

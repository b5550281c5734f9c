//! A table as what is derived from it has read it: the rows of an older version. A merge may have taken the files of that version out since,
//! and neither vacuum nor a backup keeps them for ever, so they are followed through the log to the files that hold the same rows now.

use std::collections::{HashMap, HashSet};

use deltalake::kernel::{Add, Remove};
use futures::TryStreamExt;
use ticklake_sql::log::LogEntry;
use ticklake_sql::{ErrorKind, Table};

use super::files::{path, sizes};
use super::snapshot::{Snapshot, rows};
use crate::Result;
use crate::maintenance::entries::entries;
use crate::maintenance::retention;

#[derive(Debug)]
pub struct AsRead {
    /// Together they hold the rows of the version, but for what retention has taken since.
    pub adds: Vec<Add>,
    /// Each of them is in the store, or active and so named by whoever reads the newest version. Else some of their rows lie in a merged file,
    /// between rows that came later.
    pub is_whole: bool,
    /// Files with rows that came later.
    pub since: Vec<Add>,
    /// All that the version held and that is not in `since` is in the newest version, and the files of `since` can be read.
    pub is_newest_without_since: bool,
}

impl AsRead {
    /// Of a version up to the newest one; `None` where the log no longer tells.
    pub async fn of(newest: &Snapshot, version: u64) -> Result<Option<Self>> {
        let then = match newest.at(version).await {
            Ok(then) => then,
            Err(error) if matches!(error.kind(), ErrorKind::Data | ErrorKind::Retry) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut trail = Trail::of(then.adds);
        let mut entries = entries(&newest.table, version + 1, newest.version);
        while let Some((_, entry)) = entries.try_next().await? {
            match entry {
                Some(entry) => trail.follow(entry),
                None => return Ok(None),
            }
        }
        let active: HashSet<&str> = newest.adds.iter().map(|add| add.path.as_str()).collect();
        let adds: Vec<Add> = trail.files.into_values().collect();
        let is_whole = are_there(&newest.table, &adds, &active).await?;
        let can_tell = !trail.rows_went && (is_whole || are_there(&newest.table, &trail.since, &active).await?);
        Ok(Some(Self {
            adds,
            is_whole,
            since: trail.since,
            is_newest_without_since: can_tell,
        }))
    }

    pub fn rows(&self) -> u64 {
        self.adds.iter().filter_map(rows).sum()
    }

    /// The same files as the newest version's.
    pub fn is(&self, newest: &Snapshot) -> bool {
        let own: HashSet<&str> = self.adds.iter().map(|add| add.path.as_str()).collect();
        own == newest.adds.iter().map(|add| add.path.as_str()).collect()
    }
}

/// The files that hold the rows of one version, entry after entry.
#[derive(Debug, Default)]
struct Trail {
    files: HashMap<String, Add>,
    since: Vec<Add>,
    /// Other than by retention.
    rows_went: bool,
}

impl Trail {
    fn of(adds: Vec<Add>) -> Self {
        Self {
            files: adds.into_iter().map(|add| (add.path.clone(), add)).collect(),
            ..Self::default()
        }
    }

    fn follow(&mut self, entry: LogEntry) {
        let is_retention = retention::made(&entry);
        let (went, moved): (Vec<Remove>, Vec<Remove>) =
            entry.removes.into_iter().partition(|remove| remove.data_change);
        let (came, again): (Vec<Add>, Vec<Add>) = entry.adds.into_iter().partition(|add| add.data_change);
        if is_retention {
            went.iter().for_each(|remove| drop(self.files.remove(&remove.path)));
        } else {
            self.rows_went |= !went.is_empty();
        }
        // A merge of these rows alone. One that takes others in too leaves them in the files that it has merged.
        if !moved.is_empty() && moved.iter().all(|remove| self.files.contains_key(&remove.path)) {
            moved.iter().for_each(|remove| drop(self.files.remove(&remove.path)));
            self.files.extend(again.into_iter().map(|add| (add.path.clone(), add)));
        }
        self.since
            .extend(came.into_iter().filter(|add| !self.files.contains_key(&add.path)));
    }
}

/// Each of `adds` that is not `active` is in the store.
async fn are_there(table: &Table, adds: &[Add], active: &HashSet<&str>) -> Result<bool> {
    let mut rest = adds.iter().filter(|add| !active.contains(add.path.as_str())).peekable();
    if rest.peek().is_none() {
        return Ok(true);
    }
    let there = sizes(table).await?;
    Ok(rest.all(|add| there.contains_key(path(add).as_ref())))
}

/// What a note says of a table whose rows cannot be told.
pub fn untold(input: &ticklake_sql::TableName, version: u64, derived: &str) -> String {
    format!(
        "{input} cannot be read as it was at version {version}, up to which {derived} has read it; refresh {derived}, then verify again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(path: &str, data_change: bool) -> Add {
        Add {
            path: path.to_owned(),
            data_change,
            ..Add::default()
        }
    }

    fn entry(operation: &str, adds: &[(&str, bool)], removes: &[(&str, bool)]) -> LogEntry {
        let now = chrono::DateTime::UNIX_EPOCH;
        let removal = |(path, change): &(&str, bool)| ticklake_sql::commit::removal(&add(path, *change), now, *change);
        LogEntry {
            adds: adds.iter().map(|(path, change)| add(path, *change)).collect(),
            removes: removes.iter().map(removal).collect(),
            info: Some(deltalake::kernel::CommitInfo {
                operation: Some(operation.to_owned()),
                ..Default::default()
            }),
            ..LogEntry::default()
        }
    }

    #[track_caller]
    fn check(entries: Vec<LogEntry>, files: &[&str], since: &[&str], rows_went: bool) {
        let mut trail = Trail::of(vec![add("a", true), add("b", true)]);
        entries.into_iter().for_each(|entry| trail.follow(entry));
        let mut held: Vec<&str> = trail.files.keys().map(String::as_str).collect();
        held.sort_unstable();
        assert_eq!(held, files);
        let came: Vec<&str> = trail.since.iter().map(|add| add.path.as_str()).collect();
        assert_eq!((came.as_slice(), trail.rows_went), (since, rows_went));
    }

    #[test]
    fn rows_are_followed_through_merges_and_not_into_files_with_others() {
        let merge = || entry("OPTIMIZE", &[("m", false)], &[("a", false), ("b", false)]);
        let more = || entry("WRITE", &[("c", true)], &[]);
        check(vec![merge()], &["m"], &[], false);
        // Of rows that came later, a merge of theirs alone and one of the version's.
        let theirs = entry("OPTIMIZE", &[("n", false)], &[("c", false)]);
        check(vec![more(), theirs, merge()], &["m"], &["c"], false);
        let mixed = entry("OPTIMIZE", &[("n", false)], &[("m", false), ("c", false)]);
        check(vec![merge(), more(), mixed], &["m"], &["c"], false);
    }

    #[test]
    fn rows_that_went_are_the_version_s_still_but_for_retention() {
        let replaced = entry("WRITE", &[("c", true)], &[("a", true)]);
        check(vec![replaced], &["a", "b"], &["c"], true);
        // What is left of a file of which some rows went is no merge.
        let rest = entry("DELETE", &[("rest", false)], &[("a", true)]);
        check(vec![rest], &["a", "b"], &[], true);
        check(vec![entry("RETENTION", &[], &[("a", true)])], &["b"], &[], false);
        // Back by a restore.
        let gone = entry("RESTORE", &[], &[("a", true)]);
        let back = entry("RESTORE", &[("a", true)], &[]);
        check(vec![gone, back], &["a", "b"], &[], true);
    }
}

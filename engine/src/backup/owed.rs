//! Files that a version of a table does not hold any more and that something derived has still to read: rows that came and were merged since, and
//! rows that went. Without them a copy could not be refreshed.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use ticklake_sql::Table;

use crate::Result;
use crate::maintenance::entries::entries;
use crate::maintenance::retention;

/// Paths of what the entries `unread..=version` brought and took out by changes of rows. What retention takes out is read by nobody.
pub async fn owed(table: &Table, unread: Option<u64>, version: u64) -> Result<BTreeSet<String>> {
    let mut owed = BTreeSet::new();
    let Some(unread) = unread else { return Ok(owed) };
    let mut entries = entries(table, unread, version);
    while let Some((_, entry)) = entries.try_next().await? {
        let Some(entry) = entry else { continue };
        let is_retention = retention::made(&entry);
        let came = entry.adds.into_iter().filter(|add| add.data_change);
        owed.extend(came.map(|add| add.path));
        let went = entry.removes.into_iter();
        owed.extend(
            went.filter(|remove| remove.data_change && !is_retention)
                .map(|remove| remove.path),
        );
    }
    Ok(owed)
}

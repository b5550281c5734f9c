//! Which versions of a table can be restored: those whose files are all there, as far back as its log goes.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use futures::{StreamExt, TryStreamExt, stream};
use ticklake_sql::Table;

use crate::maintenance::entries::entry;
use crate::verify::Snapshot;
use crate::{Error, Result};

/// Entries fetched at once.
const READ_AHEAD: usize = 16;
/// Versions looked at, from the newest back.
const LOOK_BACK: u64 = 10_000;
/// Stretches of versions named at most, the newest ones.
const NAMED: usize = 5;

/// As a sentence begins: `versions 12 to 48`.
pub async fn restorable(table: &Table, newest: &Snapshot) -> Result<String> {
    let there = there(table).await?;
    let is_gone = |path: &str| !there.contains(path);
    let mut active: HashSet<String> = newest.adds.iter().map(|add| add.path.clone()).collect();
    let mut gone = active.iter().filter(|path| is_gone(path)).count();
    let oldest = newest.version.saturating_sub(LOOK_BACK);
    let mut entries = stream::iter((oldest..=newest.version).rev())
        .map(|version| async move { Ok::<_, Error>((version, entry(table, version).await?)) })
        .buffered(READ_AHEAD);
    let mut whole: Vec<RangeInclusive<u64>> = Vec::new();
    while let Some((version, Some(entry))) = entries.try_next().await? {
        if gone == 0 {
            match whole.last_mut() {
                Some(range) if *range.start() == version + 1 => *range = version..=*range.end(),
                _ => whole.push(version..=version),
            }
        }
        // One version back: what this one brought goes, what it took out comes.
        for add in &entry.adds {
            if active.remove(&add.path) && is_gone(&add.path) {
                gone -= 1;
            }
        }
        for remove in entry.removes {
            let was_gone = is_gone(&remove.path);
            if active.insert(remove.path) && was_gone {
                gone += 1;
            }
        }
    }
    Ok(told(&whole))
}

/// Every file in the table's folder.
async fn there(table: &Table) -> Result<HashSet<String>> {
    let store = table.log_store().object_store(None);
    let listed = store.list(None).map_ok(|object| object.location.to_string());
    listed.try_collect().await.map_err(|source| Error::Read {
        table: table.name().clone(),
        path: "its folder".to_owned(),
        source: Box::new(source),
    })
}

fn told(whole: &[RangeInclusive<u64>]) -> String {
    let range = |range: &RangeInclusive<u64>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{} to {}", range.start(), range.end()),
    };
    let named: Vec<String> = whole.iter().take(NAMED).rev().map(range).collect();
    match (named.is_empty(), whole.len() > NAMED) {
        (true, _) => "no version".to_owned(),
        (false, false) if whole.len() == 1 && whole[0].start() == whole[0].end() => {
            format!("only version {}", named[0])
        }
        (false, true) => format!("versions {} and some before", named.join(", ")),
        (false, false) => format!("versions {}", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_in_their_order_and_the_newest_of_many() {
        assert_eq!(told(&[]), "no version");
        assert_eq!(told(&[48..=48]), "only version 48");
        assert_eq!(told(&[12..=48]), "versions 12 to 48");
        assert_eq!(told(&[40..=48, 7..=7]), "versions 7, 40 to 48");
        let many: Vec<_> = (0..7).rev().map(|n| n * 10..=n * 10 + 1).collect();
        assert_eq!(
            told(&many),
            "versions 20 to 21, 30 to 31, 40 to 41, 50 to 51, 60 to 61 and some before"
        );
    }
}

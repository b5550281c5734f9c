//! Where a table stands in a file: the app ids under which positions are recorded in its log, and reading them back.
//!
//! A file's position is one past the last line that was read; its end says that nothing comes after. Names are recorded beside, so that a
//! changed file is noticed: one app id a name and content, version = how many contents of that name there have been.

use std::collections::HashMap;

use ticklake_sql::TableName;
use ticklake_sql::commit::Txn;

/// The first line of a file.
pub const FIRST_LINE: i64 = 1;

/// App id of the position in the file with this digest.
pub fn app_id(table: &TableName, sha256: &str) -> String {
    format!("ticklake/{table}/file/{sha256}/0")
}

/// App id of the position at which the file ends.
pub fn end_app_id(table: &TableName, sha256: &str) -> String {
    format!("ticklake/{table}/file-end/{sha256}/0")
}

/// App id of the number of records, rows and bad lines, that the file has given up to its position: what a proof counts again.
pub fn records_app_id(table: &TableName, sha256: &str) -> String {
    format!("ticklake/{table}/file-records/{sha256}/0")
}

fn name_prefix(table: &TableName, address: &str) -> String {
    format!("ticklake/{table}/file-name/{address}/")
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The first line that was not read.
    pub next_line: i64,
    pub is_whole: bool,
}

pub fn standing(table: &TableName, recorded: &HashMap<String, i64>, sha256: &str) -> Standing {
    let next_line = recorded.get(&app_id(table, sha256)).copied().unwrap_or_default();
    let end = recorded.get(&end_app_id(table, sha256)).copied().unwrap_or_default();
    Standing {
        next_line: next_line.max(FIRST_LINE),
        is_whole: next_line >= FIRST_LINE && next_line == end,
    }
}

/// The newest content of a name and its generation.
pub fn newest(table: &TableName, recorded: &HashMap<String, i64>, address: &str) -> Option<(String, i64)> {
    let prefix = name_prefix(table, address);
    recorded
        .iter()
        .filter_map(|(app_id, generation)| Some((app_id.strip_prefix(&prefix)?.to_owned(), *generation)))
        .filter(|(sha256, _)| !sha256.contains('/'))
        .max_by_key(|(_, generation)| *generation)
}

/// Records `sha256` as the `generation`th content of a name.
pub fn name_txn(table: &TableName, address: &str, sha256: &str, generation: i64) -> Txn {
    Txn {
        app_id: format!("{}{sha256}", name_prefix(table, address)),
        version: generation,
    }
}

pub fn position_txn(table: &TableName, sha256: &str, next_line: i64) -> Txn {
    Txn {
        app_id: app_id(table, sha256),
        version: next_line,
    }
}

pub fn end_txn(table: &TableName, sha256: &str, next_line: i64) -> Txn {
    Txn {
        app_id: end_app_id(table, sha256),
        version: next_line,
    }
}

/// `more` records since the last commit; none where what came before was not counted.
pub fn records_txn(
    table: &TableName,
    recorded: &HashMap<String, i64>,
    sha256: &str,
    from: i64,
    more: usize,
) -> Option<Txn> {
    let app_id = records_app_id(table, sha256);
    let before = recorded.get(&app_id).copied();
    let before = before.or_else(|| (from == FIRST_LINE).then_some(0))?;
    Some(Txn {
        app_id,
        version: before.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_where_its_position_is_its_end() {
        let table = TableName::bronze_trades();
        let mut recorded = HashMap::new();
        let mut put = |txn: Txn| recorded.insert(txn.app_id, txn.version);
        for txn in [
            position_txn(&table, "a", 10),
            position_txn(&table, "b", 20),
            end_txn(&table, "b", 20),
            // Replaced: back at the start.
            position_txn(&table, "c", 0),
            end_txn(&table, "c", 0),
            name_txn(&table, "/d/x", "a", 1),
            name_txn(&table, "/d/x", "b", 2),
            name_txn(&table, "/d/x/y", "c", 3),
        ] {
            put(txn);
        }
        let of = |sha256: &str| {
            let standing = standing(&table, &recorded, sha256);
            (standing.next_line, standing.is_whole)
        };
        assert_eq!(
            [of("a"), of("b"), of("c"), of("d")],
            [(10, false), (20, true), (1, false), (1, false)]
        );
        assert_eq!(newest(&table, &recorded, "/d/x"), Some(("b".to_owned(), 2)));
        assert_eq!(newest(&table, &recorded, "/d"), None);
    }
}

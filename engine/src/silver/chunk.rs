//! The next piece of bronze to read: whole versions, in order, until enough rows are together. Only data-changing Adds count: optimize
//! moves rows, retention removes them, and neither brings a new one.

use deltalake::kernel::Add;
use serde::Deserialize;
use ticklake_sql::{ErrorKind, Table, log};

use super::read::FileRef;
use crate::rebuild::RebuildRange;
use crate::{Error, Result};

/// Bytes of a bronze row where an Add has no statistics, on the low side: too many rows are guessed, never too few.
const ROW_BYTES: i64 = 32;

#[derive(Debug, Clone)]
pub struct Chunk {
    /// Versions above this one (`None`: all) ...
    pub after: Option<u64>,
    /// ... up to and with this one.
    pub to: u64,
    pub files: Vec<FileRef>,
    pub rows: u64,
    /// Nothing stood behind it when it was read.
    pub reaches_end: bool,
    /// Only rows of this range count; `None`: all do.
    pub within: Option<RebuildRange>,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(rename = "numRecords")]
    num_records: Option<u64>,
}

/// The versions after `after`, up to `until` where it is given, at least one and no more than needed for `max_rows`. `None`: nothing new.
pub async fn next(bronze: &Table, after: Option<u64>, until: Option<u64>, max_rows: u64) -> Result<Option<Chunk>> {
    let mut chunk: Option<Chunk> = None;
    let mut version = after.map_or(0, |after| after + 1);
    while until.is_none_or(|until| version <= until) {
        let entry = match log::read(bronze, version).await {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                if let Some(chunk) = &mut chunk {
                    chunk.reaches_end = true;
                }
                break;
            }
            Err(error) if error.kind() == ErrorKind::Data => return Err(behind(bronze, version, error)),
            Err(source) => {
                return Err(Error::sql("read the log of bronze.trades", source));
            }
        };
        let chunk = chunk.get_or_insert(Chunk {
            after,
            to: version,
            files: Vec::new(),
            rows: 0,
            reaches_end: false,
            within: None,
        });
        chunk.to = version;
        for add in entry.adds.iter().filter(|add| add.data_change) {
            chunk.rows += rows(add);
            chunk.files.push(FileRef::of(add));
        }
        if chunk.rows >= max_rows {
            break;
        }
        version += 1;
    }
    Ok(chunk)
}

fn rows(add: &Add) -> u64 {
    let stats = add
        .stats
        .as_deref()
        .and_then(|stats| serde_json::from_str::<Stats>(stats).ok());
    stats
        .and_then(|stats| stats.num_records)
        .unwrap_or_else(|| u64::try_from(add.size / ROW_BYTES).unwrap_or(0))
}

fn behind(bronze: &Table, version: u64, error: ticklake_sql::Error) -> Error {
    Error::Data {
        table: bronze.name().clone(),
        message: format!(
            "version {version} cannot be read ({error}), so silver cannot go on from it; run `ticklake rebuild` for the dates since then"
        ),
    }
}

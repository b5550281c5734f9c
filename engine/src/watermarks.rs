//! How far silver's and gold's refreshes have come in trade time, as their commits record it.

use std::collections::BTreeMap;

use ticklake_sql::Table;
use ticklake_sql::log::LogEntry;

use crate::Result;
use crate::maintenance::entries::entry;

/// Key of commitInfo.
pub const KEY: &str = "watermarks";

/// Venue -> greatest ts in microseconds.
pub type Watermarks = BTreeMap<String, i64>;

/// Those that a commit recorded.
pub fn of(entry: &LogEntry) -> Option<Watermarks> {
    serde_json::from_value(entry.info_value(KEY)?.clone()).ok()
}

/// Those that `version` stands on, searched so many entries back; `None` where the log does not tell.
pub async fn at(table: &Table, version: u64, look_back: u64) -> Result<Option<Watermarks>> {
    for version in (version.saturating_sub(look_back)..=version).rev() {
        let Some(entry) = entry(table, version).await? else {
            break;
        };
        if let Some(watermarks) = of(&entry) {
            return Ok(Some(watermarks));
        }
    }
    Ok(None)
}

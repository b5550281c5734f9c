//! What keeps tables healthy: merging, deleting, how long rows stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AUTO, DAY_S};
use crate::config::units::{Size, Span};

/// How small files are merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizeSettings {
    /// Size of a merged file; inputs and output of a merge are held in memory, encoded.
    pub target_size: Size,
    /// Younger files are left alone.
    pub min_age: Span,
    /// Folder of spill files; empty: the system's temporary folder.
    pub spill_dir: String,
}

impl Default for OptimizeSettings {
    fn default() -> Self {
        Self {
            target_size: Size(64 << 20),
            min_age: Span::seconds(600),
            spill_dir: String::new(),
        }
    }
}

/// When files that no query can reach any more are deleted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VacuumSettings {
    /// Versions of this age can still be read. `auto`: five days, two hours where `up` keeps its own lake.
    pub time_travel: String,
    /// Time between two full listings, which find what killed writers left behind.
    pub full_every: Span,
}

impl Default for VacuumSettings {
    fn default() -> Self {
        Self {
            time_travel: AUTO.to_owned(),
            full_every: Span::seconds(7 * DAY_S),
        }
    }
}

/// How long rows stay, whole days at a time. Counts where `jobs.retention` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// bronze.
    pub raw: Span,
    /// gold.
    pub bars: Span,
    /// Table -> time, over the two above: `"silver.trades" = "365d"`. Silver keeps its rows for ever where it is not named.
    pub tables: BTreeMap<String, String>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            raw: Span::seconds(30 * DAY_S),
            bars: Span::seconds(90 * DAY_S),
            tables: BTreeMap::new(),
        }
    }
}

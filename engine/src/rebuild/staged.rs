//! A table as it will be: changes are planned on top of one another, and only what they come to is committed.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::record_batch::RecordBatch;
use deltalake::kernel::{Add, Remove};
use serde_json::{Map, json};
use ticklake_sql::Lake;
use ticklake_sql::log::LogEntry;

use super::range::RebuildRange;
use super::side::REBUILD;
use super::stood::Stood;
use crate::Result;
use crate::silver::SilverOptions;
use crate::silver::output::{Landed, Output};
use crate::silver::plan::Changes;
use crate::silver::ranges::Ranges;
use crate::silver::read::{self, off_runtime};
use crate::silver::refresh::{Split, write_changes};
use crate::silver::write;

/// How a table's rows become files.
#[derive(Clone, Copy)]
pub struct Layout {
    split: Split,
    ranges: fn(&[RecordBatch]) -> Result<Ranges>,
}

impl Layout {
    pub const SILVER: Self = Self {
        split: write::silver_pieces,
        ranges: write::silver_ranges,
    };
    pub const QUARANTINE: Self = Self {
        split: write::quarantine_pieces,
        ranges: write::quarantine_ranges,
    };
}

pub struct Staged {
    pub output: Output,
    layout: Layout,
    adds: BTreeMap<String, Add>,
    removes: Vec<Remove>,
    stood: Stood,
}

impl Staged {
    pub async fn open(output: Output, layout: Layout, range: &RebuildRange) -> Result<Self> {
        let stood = Stood::load(output.table(), output.version(), range).await?;
        Ok(Self {
            output,
            layout,
            adds: BTreeMap::new(),
            removes: Vec::new(),
            stood,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty()
    }

    /// The files that are written and wait for the commit.
    pub fn adds(&self) -> Vec<Add> {
        self.adds.values().cloned().collect()
    }

    /// Writes the files of `changes` and goes on from there.
    pub async fn stage(&mut self, changes: &Changes, options: &SilverOptions, lake: &Lake) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let Layout { split, ranges } = self.layout;
        let written = write_changes(&self.output, changes, options, lake, split, ranges).await?;
        self.take(written.adds, written.removes).await
    }

    async fn take(&mut self, adds: Vec<Add>, removes: Vec<Remove>) -> Result<()> {
        self.output.stage(&adds, &removes).await?;
        for remove in removes {
            if self.adds.remove(&remove.path).is_none() {
                self.removes.push(remove);
            }
        }
        self.adds.extend(adds.into_iter().map(|add| (add.path.clone(), add)));
        Ok(())
    }

    /// Rows of the range, as changes of one file each. A file that lies in it whole is named without its rows.
    pub async fn rows_of(&self, range: &RebuildRange) -> Result<Vec<InRange>> {
        let mut found = Vec::new();
        for (slot, file) in self.output.held().files() {
            if !range.may_hold_date(file.partition_values.get("date")) {
                continue;
            }
            let (table, file, range) = (self.output.table().clone(), file.reference(), range.clone());
            let rows =
                off_runtime(async move { read::rows_where(&table, &file, |symbol, ts| range.holds(symbol, ts)).await });
            let (rows, total) = rows.await?;
            let count = rows.len() as u64;
            if count == total && total > 0 {
                found.push(InRange {
                    slot,
                    count,
                    rows: None,
                });
            } else if count > 0 {
                found.push(InRange {
                    slot,
                    count,
                    rows: Some(rows),
                });
            }
        }
        Ok(found)
    }

    /// Removes a whole file.
    pub async fn drop_file(&mut self, slot: u32, now_ms: i64) -> Result<()> {
        let removes = self.output.removes(&HashSet::from([slot]), now_ms);
        self.take(Vec::new(), removes).await
    }

    /// Changes that delete rows of one file.
    pub fn deletion(&self, slot: u32, rows: HashSet<u64>) -> Changes {
        Changes {
            insert: RecordBatch::new_empty(self.output.table().spec().row_schema()),
            delete: HashMap::from([(slot, rows)]),
        }
    }

    /// One commit, unless another writer has changed the range in the meantime. `id`: of the result beside that it swaps in.
    pub async fn commit(&mut self, range: &RebuildRange, id: Option<&str>) -> Result<Landed> {
        let mut info = Map::from_iter([
            ("from".to_owned(), json!(range.from_us)),
            ("until".to_owned(), json!(range.until_us)),
            ("symbols".to_owned(), json!(range.symbols)),
        ]);
        let adds = self.adds.values().cloned().collect();
        let removes = self.removes.clone();
        let spec = self.output.table().spec().clone();
        info.extend(id.map(|id| (REBUILD.to_owned(), json!(id))));
        let stood = &mut self.stood;
        let touches = |entry: &LogEntry| stood.is_changed_by(entry, &spec, range);
        self.output.replace("REBUILD", adds, removes, info, touches).await
    }
}

/// Rows of one file that lie in the range.
pub struct InRange {
    pub slot: u32,
    pub count: u64,
    /// `None`: all of them.
    pub rows: Option<HashSet<u64>>,
}

//! Silver's refresh: chunk after chunk of new bronze versions, the quarantine's commit before silver's, both positions in their commits.
//!
//! A crash between the two leaves the quarantine ahead. The next refresh then ends its first chunk where the quarantine stands and leaves
//! the quarantine alone: what survives in silver never depends on it.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use deltalake::kernel::{Add, Remove};
use serde_json::{Map, Value, json};
use ticklake_sql::{Lake, Table, TableName};

use super::SilverOptions;
use super::chunk::{self, Chunk};
use super::held::Slot;
use super::output::{Landed, Output, total_app};
use super::plan::{Changes, Plan, plan};
use super::ranges::Ranges;
use super::read::{self, off_runtime};
use super::write::{self, Piece};
use crate::error::Step;
use crate::watermarks;
use crate::{Error, RefreshReport, Result};

/// Keys of commitInfo, and names of the running totals.
const REPEATS: &str = "repeats";
const SUPERSEDED: &str = "superseded";

pub struct Silver {
    pub(super) lake: Lake,
    pub(super) options: SilverOptions,
    bronze: Table,
    pub(super) silver: Output,
    pub(super) quarantine: Output,
    ahead: Option<Ahead>,
}

/// What was read without effect beyond silver's position, and so is not committed yet. It holds as long as nobody else commits to silver.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    /// The version of silver that it was read upon.
    upon: u64,
    /// The bronze version that it reached.
    to: u64,
    /// What was dropped on the way there.
    dropped: Dropped,
}

/// Rows of bronze that neither table holds, because an equal row is kept: a proof adds them up over the commits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// New rows.
    repeats: u64,
    /// Rows that were kept until a lesser equal row came.
    superseded: u64,
}

/// Files of one table's changes, written and ready to commit.
#[derive(Default)]
pub(crate) struct Written {
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
    removed: HashSet<Slot>,
    ranges: Vec<Ranges>,
}

impl Silver {
    /// Creates the tables where they do not exist yet, so that jobs and ingest may start in any order.
    pub async fn open(lake: Lake, options: SilverOptions) -> Result<Self> {
        let create = async |name: TableName| lake.create_table(&name).await.step("open or create a table");
        let bronze = create(TableName::bronze_trades()).await?;
        let silver = Output::open(create(TableName::silver_trades()).await?, bronze.name()).await?;
        let quarantine = Output::open(create(TableName::silver_quarantine()).await?, bronze.name()).await?;
        Ok(Self {
            lake,
            options,
            bronze,
            silver,
            quarantine,
            ahead: None,
        })
    }

    /// Bronze: what a refresh reads.
    pub fn input(&self) -> &Table {
        &self.bronze
    }

    /// Bronze version up to which silver stands.
    pub fn position(&self) -> Option<u64> {
        self.silver.position()
    }

    /// Bronze version up to which this refresh has read.
    pub fn read_to(&self) -> Option<u64> {
        self.ahead().map(|ahead| ahead.to).max(self.silver.position())
    }

    fn ahead(&self) -> Option<Ahead> {
        self.ahead.filter(|ahead| ahead.upon == self.silver.version())
    }

    /// What was dropped since silver's last commit.
    fn dropped_before(&self) -> Dropped {
        self.ahead().map_or(Dropped::default(), |ahead| ahead.dropped)
    }

    /// Reads the bronze versions that are new, to where the log ends when it comes there. On an error what was committed stays, and the next refresh goes on from there.
    pub async fn refresh(&mut self) -> Result<RefreshReport> {
        let started = Instant::now();
        let mut report = RefreshReport::new(self.silver.table().name().clone());
        let mut lost = 0;
        self.follow().await?;
        report.input_from = self.read_to();
        while let Some(chunk) = self.next_chunk().await? {
            match self.take(&chunk, &mut report).await? {
                Landed::At(_) => {
                    lost = 0;
                    // What has come since wakes the next refresh: one that bronze always outruns would never end.
                    if chunk.reaches_end {
                        break;
                    }
                }
                Landed::Lost => {
                    lost += 1;
                    if lost >= self.options.attempts {
                        return Err(Error::Contended {
                            table: report.table,
                            attempts: lost,
                        });
                    }
                    self.ahead = None;
                    self.follow().await?;
                }
            }
        }
        self.commit_position(&mut report).await?;
        report.input_to = self.read_to();
        report.elapsed = started.elapsed();
        if report.commits > 0 {
            report.log();
        }
        Ok(report)
    }

    pub(super) async fn follow(&mut self) -> Result<()> {
        self.silver.follow().await?;
        self.quarantine.follow().await
    }

    /// Ends where the quarantine stands if that is inside.
    pub(super) async fn next_chunk(&self) -> Result<Option<Chunk>> {
        let after = self.read_to();
        let until = self
            .quarantine
            .position()
            .filter(|position| after.is_none_or(|after| *position > after));
        chunk::next(&self.bronze, after, until, self.options.chunk_rows).await
    }

    /// Plans and commits one chunk.
    async fn take(&mut self, chunk: &Chunk, report: &mut RefreshReport) -> Result<Landed> {
        if chunk.files.is_empty() {
            return Ok(self.pass(chunk, self.dropped_before()));
        }
        let plan = self.plan(chunk).await?;
        let planned = self.dropped_before().with(Dropped::of(&plan));
        if !plan.quarantine.is_empty() {
            if self.commit_quarantine(chunk, &plan).await? == Landed::Lost {
                return Ok(Landed::Lost);
            }
            report.commits += 1;
        }
        let side_stands_here = self.quarantine.position() == Some(chunk.to);
        if plan.silver.is_empty() && !side_stands_here {
            count(report, &plan);
            return Ok(self.pass(chunk, planned));
        }
        let recorded = self.recorded().filter(|_| side_stands_here);
        let dropped = recorded.unwrap_or(planned.with(self.owed()));
        let (silver, options) = (&self.silver, &self.options);
        let written = write_changes(
            silver,
            &plan.silver,
            options,
            &self.lake,
            write::silver_pieces,
            write::silver_ranges,
        );
        let written = written.await?;
        let (added, removed) = (written.adds.len() as u64, written.removes.len() as u64);
        let landed = self
            .commit_silver(chunk.to, written, info(chunk, &plan), dropped)
            .await?;
        if let Landed::At(version) = landed {
            self.ahead = None;
            report.version = Some(version);
            report.commits += 1;
            report.files_added += added;
            report.files_removed += removed;
            count(report, &plan);
        }
        Ok(landed)
    }

    /// Goes past a chunk without effect.
    fn pass(&mut self, chunk: &Chunk, dropped: Dropped) -> Landed {
        let upon = self.silver.version();
        self.ahead = Some(Ahead {
            upon,
            to: chunk.to,
            dropped,
        });
        Landed::At(upon)
    }

    /// What silver has to count to come to where the quarantine stands: planned again after a crash, a chunk of whose rows the quarantine
    /// holds some finds fewer repeats.
    fn recorded(&self) -> Option<Dropped> {
        let more = |name| {
            let more = self.quarantine.total(name)?.checked_sub(self.silver.total(name)?)?;
            u64::try_from(more).ok()
        };
        Some(Dropped {
            repeats: more(REPEATS)?,
            superseded: more(SUPERSEDED)?,
        })
    }

    /// What the quarantine alone has counted: a release was cut short between its two commits. The next commit of either table counts it too.
    pub(super) fn owed(&self) -> Dropped {
        if self.quarantine.position() > self.silver.position() {
            return Dropped::default();
        }
        let more = |name| {
            let more = self.quarantine.total(name)?.checked_sub(self.silver.total(name)?)?;
            u64::try_from(more).ok()
        };
        Dropped {
            repeats: more(REPEATS).unwrap_or(0),
            superseded: more(SUPERSEDED).unwrap_or(0),
        }
    }

    /// The totals of silver after it has dropped these too.
    pub(super) fn totals(&self, dropped: Dropped) -> Vec<(&'static str, i64)> {
        let total = |name, more| {
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            Some((name, self.silver.total(name)?.saturating_add(more)))
        };
        [total(REPEATS, dropped.repeats), total(SUPERSEDED, dropped.superseded)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The quarantine's commit is there already: this chunk's rows are in it.
    fn quarantine_has(&self, chunk: &Chunk) -> bool {
        self.quarantine.position().is_some_and(|position| position >= chunk.to)
    }

    pub(super) async fn plan(&self, chunk: &Chunk) -> Result<Plan> {
        let (silver, quarantine) = (&self.silver, &self.quarantine);
        let rules = self.options.rules.above(silver.low_water());
        plan(
            &self.bronze,
            chunk,
            &rules,
            silver,
            quarantine,
            self.quarantine_has(chunk),
        )
        .await
    }

    pub(super) async fn commit_quarantine(&mut self, chunk: &Chunk, plan: &Plan) -> Result<Landed> {
        let (quarantine, options) = (&self.quarantine, &self.options);
        let written = write_changes(
            quarantine,
            &plan.quarantine,
            options,
            &self.lake,
            write::quarantine_pieces,
            write::quarantine_ranges,
        );
        let written = written.await?;
        // The totals that silver's own commit will have.
        let dropped = self.dropped_before().with(Dropped::of(plan)).with(self.owed());
        let totals = self.totals(dropped);
        let info = info(chunk, plan);
        self.quarantine
            .commit(chunk.to, written.adds, written.removes, info, &totals)
            .await
    }

    pub(super) async fn commit_silver(
        &mut self,
        to: u64,
        written: Written,
        mut info: Map<String, Value>,
        dropped: Dropped,
    ) -> Result<Landed> {
        let watermarks = self.silver.held().watermarks_after(&written.removed, &written.ranges);
        info.insert(watermarks::KEY.into(), json!(watermarks));
        info.insert(REPEATS.into(), json!(dropped.repeats));
        info.insert(SUPERSEDED.into(), json!(dropped.superseded));
        let totals = self.totals(dropped);
        self.silver
            .commit(to, written.adds, written.removes, info, &totals)
            .await
    }

    /// The position alone, where it moved without effect and the last commit is long ago.
    async fn commit_position(&mut self, report: &mut RefreshReport) -> Result<()> {
        let Some(ahead) = self.ahead() else {
            return Ok(());
        };
        let now_ms = self.lake.clock().now_us() / 1000;
        if !self.silver.idle_for(self.options.position_interval, now_ms).await? {
            return Ok(());
        }
        let (info, dropped) = (
            Map::from_iter([("rowsRead".to_owned(), json!(0))]),
            ahead.dropped.with(self.owed()),
        );
        if let Landed::At(version) = self.commit_silver(ahead.to, Written::default(), info, dropped).await? {
            self.ahead = None;
            report.commits += 1;
            report.version = Some(version);
        }
        Ok(())
    }
}

impl Dropped {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            repeats: plan.repeats,
            superseded: plan.displaced,
        }
    }

    /// Of what `plan` drops, what leaves silver itself.
    pub(super) fn of_silver(plan: &Plan) -> Self {
        Self {
            repeats: 0,
            superseded: plan.displaced_in_silver,
        }
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            repeats: self.repeats + other.repeats,
            superseded: self.superseded + other.superseded,
        }
    }
}

/// Rows of bronze that silver dropped for an equal one since its first refresh, out of the table's positions; `None` where they were not counted
/// from the first refresh on.
pub fn dropped_total(silver: &TableName, positions: &HashMap<String, i64>) -> Option<u64> {
    let total = |name| {
        let total = positions.get(&total_app(silver, name))?;
        u64::try_from(*total).ok()
    };
    Some(total(REPEATS)? + total(SUPERSEDED)?)
}

/// Rows as pieces of one partition each.
pub(crate) type Split = fn(&arrow::record_batch::RecordBatch, &ticklake_sql::ddl::TableSpec) -> Result<Vec<Piece>>;

/// Writes what a table's changes insert, and again what they leave of the files that they delete from.
pub(crate) async fn write_changes(
    output: &Output,
    changes: &Changes,
    options: &SilverOptions,
    lake: &Lake,
    split: Split,
    ranges: fn(&[arrow::record_batch::RecordBatch]) -> Result<Ranges>,
) -> Result<Written> {
    let insert = changes.insert.clone();
    let spec = output.table().spec().clone();
    let mut pieces = off_runtime(async move { split(&insert, &spec) }).await?;
    let schema = output.table().spec().row_schema();
    let piece_rows = usize::try_from(options.chunk_rows).unwrap_or(usize::MAX);
    let mut written = Written::default();
    for (slot, gone) in &changes.delete {
        let file = output
            .held()
            .file(*slot)
            .ok_or_else(|| Error::Internal("a row of a file that is not active cannot be deleted".into()))?;
        let partition = file
            .partition_values
            .iter()
            .filter_map(|(column, value)| Some((column.clone(), value.clone()?)))
            .collect();
        let (table, reference, schema, gone) = (output.table().clone(), file.reference(), schema.clone(), gone.clone());
        let rest = off_runtime(async move {
            let rest = read::without(&table, &reference, &schema, &gone, piece_rows).await?;
            rest.into_iter()
                .map(|batches| Ok((ranges(&batches)?, batches)))
                .collect::<Result<Vec<_>>>()
        });
        let partition: std::collections::BTreeMap<String, String> = partition;
        pieces.extend(rest.await?.into_iter().map(|(ranges, batches)| Piece {
            partition: partition.clone(),
            batches,
            ranges,
        }));
        written.removed.insert(*slot);
    }
    written.ranges = pieces.iter().map(|piece| piece.ranges.clone()).collect();
    written.adds = write::files(output.table(), pieces, options.zstd_level).await?;
    written.removes = output.removes(&written.removed, lake.clock().now_us() / 1000);
    Ok(written)
}

fn info(chunk: &Chunk, plan: &Plan) -> Map<String, Value> {
    let entries = [
        ("inputAfter", json!(chunk.after)),
        ("inputTo", json!(chunk.to)),
        ("rowsRead", json!(plan.rows_in)),
        ("rowsValid", json!(plan.valid)),
        ("rowsQuarantined", json!(plan.quarantined)),
        ("rowsRepeated", json!(plan.repeats)),
        ("rowsSuperseded", json!(plan.superseded)),
    ];
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn count(report: &mut RefreshReport, plan: &Plan) {
    report.rows_in += plan.rows_in;
    report.rows_out += plan.silver.insert.num_rows() as u64;
    report.quarantined += plan.quarantined;
    report.repeats += plan.repeats;
    report.superseded += plan.superseded;
}

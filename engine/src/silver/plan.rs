//! What one chunk of bronze does to silver and quarantine, worked out before anything is written.

use std::collections::{HashMap, HashSet};

use arrow::array::{BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use ticklake_sql::Table;

use super::chunk::Chunk;
use super::columns::{ints, longs, micros, strings};
use super::held::Slot;
use super::key::{Key, Keys};
use super::output::Output;
use super::read::{self, FileRef, Found, KeyColumns, off_runtime, subset};
use super::rows::{self, BRONZE_COLUMNS};
use super::rules::{Judged, Rules};
use super::settle::{Place, settle};
use crate::error::Step;
use crate::{Error, Result};

/// Rows to insert, and to delete as row numbers of a file.
#[derive(Debug)]
pub struct Changes {
    pub insert: RecordBatch,
    pub delete: HashMap<Slot, HashSet<u64>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.insert.num_rows() == 0 && self.delete.is_empty()
    }
}

#[derive(Debug)]
pub struct Plan {
    pub silver: Changes,
    pub quarantine: Changes,
    pub rows_in: u64,
    pub valid: u64,
    pub quarantined: u64,
    pub repeats: u64,
    pub superseded: u64,
    /// Rows of either table that a lesser equal row has taken the place of, and how many of them left silver.
    pub displaced: u64,
    pub displaced_in_silver: u64,
    /// Of quarantine's part: rows that leave silver for it, and its own rows whose detail is another one now.
    pub moved: Changes,
    /// Of the rows that leave quarantine, those that enter silver.
    pub returned: HashMap<Slot, HashSet<u64>>,
}

/// The chunk's rows, judged and keyed.
struct Prepared {
    bronze: RecordBatch,
    judged: Judged,
    /// Valid rows in silver's file columns.
    trades: RecordBatch,
    keys: Keys,
    key_of: Vec<Key>,
    /// Distinct keys in order.
    sorted: Vec<Key>,
    /// Keys of more than one row of the chunk.
    contested: HashSet<Key>,
}

/// Rows of the tables that share a key with the chunk, and the chunk's rows of those keys: stored rows first.
struct Contest {
    rows: RecordBatch,
    keys: Vec<Key>,
    places: Vec<Place>,
    /// File and row of each stored row.
    stored: Vec<(Slot, u64)>,
    /// Rows of silver that quarantine holds too, which stand here as quarantine's alone: they are taken out of silver.
    twins: Vec<(Slot, u64)>,
}

/// `rules` and the tables as they stand; with `settled_quarantine` the quarantine holds this chunk's rows already and is left alone.
pub async fn plan(
    bronze: &Table,
    chunk: &Chunk,
    rules: &Rules,
    silver: &Output,
    quarantine: &Output,
    settled_quarantine: bool,
) -> Result<Plan> {
    let prepared = {
        let (bronze, chunk, rules) = (bronze.clone(), chunk.clone(), rules.clone());
        let schema = silver.table().spec().row_schema();
        off_runtime(async move { prepare(&bronze, &chunk, &rules, &schema).await }).await?
    };
    plan_prepared(prepared, silver, quarantine, settled_quarantine).await
}

/// Rows of quarantine that break no rule any more, all of them valid: what they do to both tables, beside leaving where they stand.
pub async fn plan_released(rows: &RecordBatch, rules: &Rules, silver: &Output, quarantine: &Output) -> Result<Plan> {
    let schema = silver.table().spec().row_schema();
    let prepared = keyed(rows.clone(), rules.judge(rows)?, &schema)?;
    plan_prepared(prepared, silver, quarantine, false).await
}

/// Which of these rows of quarantine, all of them valid, silver holds itself.
pub async fn held_by_silver(rows: &RecordBatch, rules: &Rules, silver: &Output) -> Result<Vec<bool>> {
    let schema = silver.table().spec().row_schema();
    let prepared = keyed(rows.clone(), rules.judge(rows)?, &schema)?;
    let candidates = silver.files(&silver.held().candidates(&prepared.keys, &prepared.sorted));
    let (_, in_silver) = find(silver.table(), candidates, &schema, prepared, None).await?;
    let mut held = HashSet::new();
    for (_, found) in &in_silver {
        held.extend(records(&found.rows)?);
    }
    Ok(records(rows)?.iter().map(|record| held.contains(record)).collect())
}

/// The record of bronze that a row of silver or quarantine was made of. The time of its write tells apart what a topic made again numbers alike.
type Record = (String, i32, i64, i64);

fn records(rows: &RecordBatch) -> Result<Vec<Record>> {
    let (topics, partitions, offsets, written) = (
        strings(rows, "topic")?,
        ints(rows, "partition")?,
        longs(rows, "offset")?,
        micros(rows, "ingested_at")?,
    );
    Ok((0..rows.num_rows())
        .map(|row| {
            (
                topics.value(row).to_owned(),
                partitions.value(row),
                offsets.value(row),
                written.value(row),
            )
        })
        .collect())
}

async fn plan_prepared(
    prepared: Prepared,
    silver: &Output,
    quarantine: &Output,
    settled_quarantine: bool,
) -> Result<Plan> {
    let silver_schema = silver.table().spec().row_schema();
    let quarantine_schema = quarantine.table().spec().row_schema();
    let candidates = silver.files(&silver.held().candidates(&prepared.keys, &prepared.sorted));
    let (prepared, in_silver) = find(silver.table(), candidates, &silver_schema, prepared, None).await?;

    let conflicted = conflicted_keys(&prepared, &in_silver, &silver_schema)?;
    let (prepared, in_quarantine) = if settled_quarantine || conflicted.is_empty() {
        (prepared, Vec::new())
    } else {
        let mut sorted: Vec<Key> = conflicted.iter().copied().collect();
        sorted.sort_unstable();
        let candidates = quarantine.files(&quarantine.held().candidates(&prepared.keys, &sorted));
        find(
            quarantine.table(),
            candidates,
            &quarantine_schema,
            prepared,
            Some(conflicted),
        )
        .await?
    };
    let work = move || {
        assemble(
            prepared,
            in_silver,
            in_quarantine,
            &silver_schema,
            &quarantine_schema,
            settled_quarantine,
        )
    };
    off_runtime(async move { work() }).await
}

async fn prepare(bronze: &Table, chunk: &Chunk, rules: &Rules, silver_schema: &SchemaRef) -> Result<Prepared> {
    let schema = subset(&bronze.spec().schema, &BRONZE_COLUMNS)?;
    let mut bronze = read::rows(bronze, &chunk.files, &schema).await?;
    if let Some(range) = &chunk.within {
        let (symbol, ts) = (strings(&bronze, "symbol")?, micros(&bronze, "ts")?);
        let inside: BooleanArray = (0..bronze.num_rows())
            .map(|row| Some(range.holds(symbol.value(row), ts.value(row))))
            .collect();
        bronze = filter_record_batch(&bronze, &inside).step("pick the rows of a range")?;
    }
    let judged = rules.judge(&bronze)?;
    keyed(bronze, judged, silver_schema)
}

fn keyed(bronze: RecordBatch, judged: Judged, silver_schema: &SchemaRef) -> Result<Prepared> {
    let trades = rows::valid(&bronze, &judged, silver_schema)?;

    let mut keys = Keys::default();
    let columns = KeyColumns::new(&trades)?;
    let key_of: Vec<Key> = (0..trades.num_rows()).map(|row| columns.key(&mut keys, row)).collect();
    let mut sorted = key_of.clone();
    sorted.sort_unstable();
    let contested = sorted
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    sorted.dedup();
    Ok(Prepared {
        bronze,
        judged,
        trades,
        keys,
        key_of,
        sorted,
        contested,
    })
}

/// The stored rows with a key of the chunk, or with one of `only`.
async fn find(
    table: &Table,
    candidates: Vec<(Slot, FileRef)>,
    schema: &SchemaRef,
    mut prepared: Prepared,
    only: Option<HashSet<Key>>,
) -> Result<(Prepared, Vec<(Slot, Found)>)> {
    if candidates.is_empty() {
        return Ok((prepared, Vec::new()));
    }
    let (table, schema) = (table.clone(), schema.clone());
    off_runtime(async move {
        let wanted = only.unwrap_or_else(|| prepared.sorted.iter().copied().collect());
        let mut found = Vec::new();
        for (slot, file) in candidates {
            let matching = read::matching(&table, &file, &schema, &mut prepared.keys, &wanted).await?;
            if matching.rows.num_rows() > 0 {
                found.push((slot, matching));
            }
        }
        Ok((prepared, found))
    })
    .await
}

/// Keys that silver holds and for which some row differs from the survivor: only they can have rows in quarantine that matter now.
fn conflicted_keys(
    prepared: &Prepared,
    in_silver: &[(Slot, Found)],
    silver_schema: &SchemaRef,
) -> Result<HashSet<Key>> {
    let held: HashSet<Key> = in_silver
        .iter()
        .flat_map(|(_, found)| found.keys.iter().copied())
        .collect();
    if held.is_empty() {
        return Ok(held);
    }
    let contest = contest(prepared, in_silver, &[], silver_schema)?;
    let settled = settle(&contest.rows, &contest.keys, &contest.places)?;
    Ok(settled
        .set_aside
        .iter()
        .map(|(row, _)| contest.keys[*row as usize])
        .filter(|key| held.contains(key))
        .collect())
}

fn contest(
    prepared: &Prepared,
    in_silver: &[(Slot, Found)],
    in_quarantine: &[(Slot, Found)],
    silver_schema: &SchemaRef,
) -> Result<Contest> {
    let (mut batches, mut keys, mut places, mut stored) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut contested = prepared.contested.clone();
    let (aside, mut twins) = (conflicting_records(in_quarantine)?, Vec::new());
    for (slot, found) in in_silver {
        contested.extend(found.keys.iter().copied());
        let records = records(&found.rows)?;
        let own: BooleanArray = records.iter().map(|record| Some(!aside.contains(record))).collect();
        for (row, record) in records.iter().enumerate() {
            let at = (*slot, found.row_numbers[row]);
            if aside.contains(record) {
                twins.push(at);
            } else {
                keys.push(found.keys[row]);
                places.push(Place::Silver);
                stored.push(at);
            }
        }
        batches.push(filter_record_batch(&found.rows, &own).step("leave out what quarantine holds too")?);
    }
    for (slot, found) in in_quarantine {
        let (rule, detail) = (strings(&found.rows, "rule")?, strings(&found.rows, "detail")?);
        let wanted: Vec<u32> = (0..found.keys.len())
            .filter(|row| rule.value(*row) == super::rules::Rule::ConflictingRepeat.name())
            .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
            .collect();
        for row in wanted.iter().map(|row| *row as usize) {
            keys.push(found.keys[row]);
            places.push(Place::Quarantine(detail.value(row).to_owned()));
            stored.push((*slot, found.row_numbers[row]));
        }
        let rows = take_record_batch(&found.rows, &UInt32Array::from(wanted)).step("pick conflicting repeats")?;
        batches.push(rows::as_trades(&rows, silver_schema)?);
    }
    let new: Vec<u32> = (0..prepared.key_of.len())
        .filter(|row| contested.contains(&prepared.key_of[*row]))
        .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
        .collect();
    keys.extend(new.iter().map(|row| prepared.key_of[*row as usize]));
    places.extend(new.iter().map(|_| Place::New));
    batches.push(take_record_batch(&prepared.trades, &UInt32Array::from(new)).step("pick repeated rows")?);
    let rows = concat_batches(silver_schema, &batches).step("put repeats together")?;
    Ok(Contest {
        rows,
        keys,
        places,
        stored,
        twins,
    })
}

/// The records of the conflicting repeats among these rows of quarantine.
fn conflicting_records(in_quarantine: &[(Slot, Found)]) -> Result<HashSet<Record>> {
    let mut aside = HashSet::new();
    for (_, found) in in_quarantine {
        let rule = strings(&found.rows, "rule")?;
        let of_rows = records(&found.rows)?.into_iter().enumerate();
        aside.extend(
            of_rows
                .filter(|(row, _)| rule.value(*row) == super::rules::Rule::ConflictingRepeat.name())
                .map(|(_, record)| record),
        );
    }
    Ok(aside)
}

fn assemble(
    prepared: Prepared,
    in_silver: Vec<(Slot, Found)>,
    in_quarantine: Vec<(Slot, Found)>,
    silver_schema: &SchemaRef,
    quarantine_schema: &SchemaRef,
    settled_quarantine: bool,
) -> Result<Plan> {
    let contest = contest(&prepared, &in_silver, &in_quarantine, silver_schema)?;
    let settled = settle(&contest.rows, &contest.keys, &contest.places)?;
    let deletes = |rows: &[u32]| -> Result<HashMap<Slot, HashSet<u64>>> {
        let mut deletes: HashMap<Slot, HashSet<u64>> = HashMap::new();
        for row in rows {
            let (slot, number) = contest
                .stored
                .get(*row as usize)
                .ok_or_else(|| Error::Internal("a new row cannot be deleted".into()))?;
            deletes.entry(*slot).or_default().insert(*number);
        }
        Ok(deletes)
    };

    let contested: HashSet<Key> = contest.keys.iter().copied().collect();
    let entering =
        take_record_batch(&contest.rows, &UInt32Array::from(settled.enter.clone())).step("pick surviving rows")?;
    let insert = if contested.is_empty() {
        prepared.trades.clone()
    } else {
        let alone: BooleanArray = prepared
            .key_of
            .iter()
            .map(|key| Some(!contested.contains(key)))
            .collect();
        let alone = filter_record_batch(&prepared.trades, &alone).step("pick rows without a repeat")?;
        concat_batches(silver_schema, [&alone, &entering]).step("put surviving rows together")?
    };
    let superseded = settled.superseded.len() as u64;
    let mut delete = deletes(&settled.superseded)?;
    for (slot, row) in &contest.twins {
        delete.entry(*slot).or_default().insert(*row);
    }
    let silver = Changes { insert, delete };
    let of_quarantine = |row: &u32| matches!(contest.places[*row as usize], Place::Quarantine(_));
    let stored: Vec<(u32, String)> = settled
        .set_aside
        .iter()
        .filter(|(row, _)| contest.places[*row as usize] != Place::New)
        .cloned()
        .collect();
    let told_anew: Vec<u32> = stored.iter().map(|(row, _)| *row).filter(of_quarantine).collect();
    let moved = Changes {
        insert: rows::conflicting(&contest.rows, &stored, quarantine_schema)?,
        delete: deletes(&told_anew)?,
    };
    let returned: Vec<u32> = settled.enter.iter().copied().filter(of_quarantine).collect();
    let returned = deletes(&returned)?;

    let new_in_quarantine = settled
        .set_aside
        .iter()
        .filter(|(row, _)| !matches!(contest.places[*row as usize], Place::Quarantine(_)))
        .count();
    let quarantine = if settled_quarantine {
        Changes {
            insert: RecordBatch::new_empty(quarantine_schema.clone()),
            delete: HashMap::new(),
        }
    } else {
        let broken = rows::broken(&prepared.bronze, &prepared.judged.broken, quarantine_schema)?;
        let conflicting = rows::conflicting(&contest.rows, &settled.set_aside, quarantine_schema)?;
        let insert =
            concat_batches(quarantine_schema, [&broken, &conflicting]).step("put quarantined rows together")?;
        Changes {
            insert,
            delete: deletes(&settled.released)?,
        }
    };
    Ok(Plan {
        rows_in: prepared.bronze.num_rows() as u64,
        valid: prepared.trades.num_rows() as u64,
        quarantined: (prepared.judged.broken.len() + new_in_quarantine) as u64,
        repeats: settled.repeats,
        superseded,
        displaced: settled.displaced,
        displaced_in_silver: settled.displaced_in_silver,
        moved,
        returned,
        silver,
        quarantine,
    })
}

//! Quarantined trades judged again: after a rule was relaxed, those that break none any more enter silver.
//!
//! A file of quarantine is worked off in steps of one kind each, and what a step finds is what the one before has left, so a release may be cut short
//! anywhere and the next one goes on. Trades enter silver first and then leave quarantine; a row that leaves silver for one of them is in
//! quarantine before. What only repeats a kept row is counted by the commit that takes it out of quarantine, and silver's totals follow. Of
//! conflicting repeats nothing is released: which one survives is no matter of rules.

use std::collections::{HashMap, HashSet};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use serde_json::{Map, Value, json};
use ticklake_sql::failpoint;

use super::columns::strings;
use super::held::Slot;
use super::output::Landed;
use super::plan::{Changes, Plan, held_by_silver, plan_released};
use super::read::{self, FileRef, off_runtime};
use super::refresh::{Dropped, Silver, Written, write_changes};
use super::rules::Rule;
use super::write;
use crate::error::Step;
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// Quarantined trades that were judged again.
    pub judged: u64,
    /// Of these, how many left quarantine.
    pub released: u64,
}

/// What came of one look at a file.
enum Stepped {
    /// Nothing of it is left to release, of so many that were judged.
    Done(u64),
    /// So many have left it.
    Left(u64),
    /// Some are in silver now, and have yet to leave it.
    Entered,
    /// Another writer was first.
    Lost,
}

impl Silver {
    /// Judges every quarantined trade by the rules as they are now. `rule`: only those that this one set aside. Refreshes first, so that both
    /// tables stand at one version of bronze.
    pub async fn release(&mut self, rule: Option<&str>) -> Result<Released> {
        self.refresh().await?;
        let mut released = Released::default();
        let mut done: HashSet<String> = HashSet::new();
        let mut lost = 0;
        if self.settle_counts().await? == Landed::Lost {
            self.follow().await?;
        }
        while let Some((slot, file)) = self.undone(&done) {
            let path = file.path.clone();
            let stepped = self.step(slot, file, rule).await?;
            lost = if matches!(stepped, Stepped::Lost) { lost + 1 } else { 0 };
            match stepped {
                Stepped::Done(judged) => {
                    released.judged += judged;
                    done.insert(path);
                }
                Stepped::Left(rows) => {
                    released.judged += rows;
                    released.released += rows;
                }
                Stepped::Entered => {}
                Stepped::Lost if lost >= self.options.attempts => {
                    let table = self.silver.table().name().clone();
                    return Err(Error::Contended { table, attempts: lost });
                }
                Stepped::Lost => self.follow().await?,
            }
        }
        Ok(released)
    }

    /// The first file that is not done.
    fn undone(&self, done: &HashSet<String>) -> Option<(Slot, FileRef)> {
        let files = self.quarantine.held().all();
        files
            .filter(|(_, file)| !done.contains(&file.path))
            .min_by(|(_, a), (_, b)| a.path.cmp(&b.path))
            .map(|(slot, file)| (slot, file.reference()))
    }

    async fn step(&mut self, slot: Slot, file: FileRef, rule: Option<&str>) -> Result<Stepped> {
        let (Some(position), Some(side_position)) = (self.silver.position(), self.quarantine.position()) else {
            return Ok(Stepped::Done(0));
        };
        let table = self.quarantine.table().clone();
        let schema = table.spec().row_schema();
        let rows = off_runtime(async move { read::rows(&table, &[file], &schema).await }).await?;
        let broken_rule = strings(&rows, "rule")?;
        let is_judged = |row: &usize| {
            let broken = broken_rule.value(*row);
            broken != Rule::ConflictingRepeat.name() && rule.is_none_or(|rule| rule == broken)
        };
        let judged: Vec<usize> = (0..rows.num_rows()).filter(is_judged).collect();
        let rules = self.options.rules.above(self.silver.low_water());
        let broken = rules.judge(&rows)?.broken;
        let broken: HashSet<usize> = broken.iter().map(|broken| broken.row as usize).collect();
        let valid: Vec<usize> = judged.iter().copied().filter(|row| !broken.contains(row)).collect();
        if valid.is_empty() {
            return Ok(Stepped::Done(judged.len() as u64));
        }
        let wanted: BooleanArray = (0..rows.num_rows())
            .map(|row| Some(valid.binary_search(&row).is_ok()))
            .collect();
        let trades = filter_record_batch(&rows, &wanted).step("pick released rows")?;
        let held = held_by_silver(&trades, &rules, &self.silver).await?;
        let there: Vec<usize> = valid
            .iter()
            .zip(held)
            .filter_map(|(row, held)| held.then_some(*row))
            .collect();
        if !there.is_empty() {
            let changes = self.leaving(slot, &there);
            let landed = self.commit_aside(side_position, &changes, there.len(), &[]).await?;
            return Ok(stepped(landed, Stepped::Left(there.len() as u64)));
        }
        let mut plan = plan_released(&trades, &rules, &self.silver, &self.quarantine).await?;
        if !plan.silver.is_empty() {
            let landed = self.enter(position, side_position, &plan).await?;
            return Ok(stepped(landed, Stepped::Entered));
        }
        let gone = plan.quarantine.delete.entry(slot).or_default();
        gone.extend(valid.iter().map(|row| *row as u64));
        let landed = self.take_out(side_position, &plan, valid.len()).await?;
        Ok(stepped(landed, Stepped::Left(valid.len() as u64)))
    }

    /// Silver's part of the plan. Of quarantine's only what is stored already: the rows to be released are planned again upon what silver then holds.
    async fn enter(&mut self, position: u64, side_position: u64, plan: &Plan) -> Result<Landed> {
        if !plan.moved.is_empty() {
            if self.commit_aside(side_position, &plan.moved, 0, &[]).await? == Landed::Lost {
                return Ok(Landed::Lost);
            }
            failpoint::reach("release-set-aside");
        }
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
        let info = about(plan.silver.insert.num_rows());
        let dropped = Dropped::of_silver(plan).with(self.owed());
        let landed = self.commit_silver(position, written, info, dropped).await?;
        failpoint::reach("release-entered");
        if landed == Landed::Lost || plan.returned.is_empty() {
            return Ok(landed);
        }
        let returned = Changes {
            insert: RecordBatch::new_empty(self.quarantine.table().spec().row_schema()),
            delete: plan.returned.clone(),
        };
        self.commit_aside(side_position, &returned, 0, &[]).await
    }

    /// Quarantine's part of a plan that leaves silver's rows as they are, with the totals that silver then comes to.
    async fn take_out(&mut self, side_position: u64, plan: &Plan, rows: usize) -> Result<Landed> {
        let totals = self.totals(Dropped::of(plan).with(self.owed()));
        let landed = self
            .commit_aside(side_position, &plan.quarantine, rows, &totals)
            .await?;
        if landed == Landed::Lost {
            return Ok(Landed::Lost);
        }
        failpoint::reach("release-counted");
        // Lost, the counts stay owed: whoever commits to silver next pays them.
        self.settle_counts().await?;
        Ok(landed)
    }

    /// Lets silver's totals come to the quarantine's.
    async fn settle_counts(&mut self) -> Result<Landed> {
        let owed = self.owed();
        match self.silver.position() {
            Some(position) if owed != Dropped::default() => {
                self.commit_silver(position, Written::default(), about(0), owed).await
            }
            _ => Ok(Landed::At(self.silver.version())),
        }
    }

    fn leaving(&self, slot: Slot, rows: &[usize]) -> Changes {
        Changes {
            insert: RecordBatch::new_empty(self.quarantine.table().spec().row_schema()),
            delete: HashMap::from([(slot, rows.iter().map(|row| *row as u64).collect())]),
        }
    }

    async fn commit_aside(
        &mut self,
        side_position: u64,
        changes: &Changes,
        released: usize,
        totals: &[(&str, i64)],
    ) -> Result<Landed> {
        let (quarantine, options) = (&self.quarantine, &self.options);
        let written = write_changes(
            quarantine,
            changes,
            options,
            &self.lake,
            write::quarantine_pieces,
            write::quarantine_ranges,
        );
        let written = written.await?;
        self.quarantine
            .commit(side_position, written.adds, written.removes, about(released), totals)
            .await
    }
}

fn stepped(landed: Landed, done: Stepped) -> Stepped {
    if landed == Landed::Lost { Stepped::Lost } else { done }
}

fn about(released: usize) -> Map<String, Value> {
    Map::from_iter([("released".to_owned(), json!(released))])
}

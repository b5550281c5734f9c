//! Quarantined trades judged again: after a rule was relaxed, those that break none any more enter silver.
//!
//! Silver commits first, then the row leaves quarantine. A crash in between leaves it in both, and the next release only takes it out. Of
//! conflicting repeats nothing is released: which one survives is no matter of rules.

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use serde_json::{Map, json};

use super::columns::strings;
use super::held::Slot;
use super::output::Landed;
use super::plan::{Plan, plan_released};
use super::read::{self, off_runtime};
use super::refresh::{Dropped, Silver, write_changes};
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

impl Silver {
    /// Judges every quarantined trade by the rules as they are now. `rule`: only those that this one set aside. Refreshes first, so that both
    /// tables stand at one version of bronze.
    pub async fn release(&mut self, rule: Option<&str>) -> Result<Released> {
        self.refresh().await?;
        let mut released = Released::default();
        let paths: Vec<String> = self
            .quarantine
            .held()
            .all()
            .map(|(_, file)| file.path.clone())
            .collect();
        for path in paths {
            let mut lost = 0;
            while let Some((slot, rows)) = self.quarantined(&path).await? {
                match self.release_of(slot, rows, rule).await? {
                    Some(of_file) => {
                        released.judged += of_file.judged;
                        released.released += of_file.released;
                        break;
                    }
                    None => lost += 1,
                }
                if lost >= self.options.attempts {
                    let table = self.silver.table().name().clone();
                    return Err(Error::Contended { table, attempts: lost });
                }
                self.follow().await?;
            }
        }
        Ok(released)
    }

    /// The rows of a file that is still active.
    async fn quarantined(&self, path: &str) -> Result<Option<(Slot, RecordBatch)>> {
        let file = self.quarantine.held().all().find(|(_, file)| file.path == path);
        let Some((slot, file)) = file.map(|(slot, file)| (slot, file.reference())) else {
            return Ok(None);
        };
        let table = self.quarantine.table().clone();
        let schema = table.spec().row_schema();
        let rows = off_runtime(async move { read::rows(&table, &[file], &schema).await }).await?;
        Ok(Some((slot, rows)))
    }

    /// `None` where another writer was first.
    async fn release_of(&mut self, slot: Slot, rows: RecordBatch, rule: Option<&str>) -> Result<Option<Released>> {
        let (Some(position), Some(side_position)) = (self.silver.position(), self.quarantine.position()) else {
            return Ok(Some(Released::default()));
        };
        let rules = strings(&rows, "rule")?;
        let is_judged = |row: &usize| {
            let broken = rules.value(*row);
            broken != Rule::ConflictingRepeat.name() && rule.is_none_or(|rule| rule == broken)
        };
        let judged: Vec<usize> = (0..rows.num_rows()).filter(is_judged).collect();
        let broken = self.options.rules.judge(&rows)?.broken;
        let broken: std::collections::HashSet<usize> = broken.iter().map(|broken| broken.row as usize).collect();
        let valid: Vec<usize> = judged.iter().copied().filter(|row| !broken.contains(row)).collect();
        let counted = Released {
            judged: judged.len() as u64,
            released: valid.len() as u64,
        };
        if valid.is_empty() {
            return Ok(Some(counted));
        }
        let wanted: BooleanArray = (0..rows.num_rows())
            .map(|row| Some(valid.binary_search(&row).is_ok()))
            .collect();
        let rows = filter_record_batch(&rows, &wanted).step("pick released rows")?;
        let mut plan = plan_released(rows, &self.options.rules, &self.silver, &self.quarantine).await?;
        let leaving = plan.quarantine.delete.entry(slot).or_default();
        leaving.extend(valid.iter().map(|row| *row as u64));
        if self.commit_released(position, &plan, counted).await? == Landed::Lost {
            return Ok(None);
        }
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
        let info = about(counted);
        let landed = self
            .quarantine
            .commit(side_position, written.adds, written.removes, info, &[])
            .await?;
        Ok((landed != Landed::Lost).then_some(counted))
    }

    async fn commit_released(&mut self, position: u64, plan: &Plan, counted: Released) -> Result<Landed> {
        let dropped = Dropped::of(plan);
        if plan.silver.is_empty() && dropped == Dropped::default() {
            return Ok(Landed::At(self.silver.version()));
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
        self.commit_silver(position, written, about(counted), dropped).await
    }
}

fn about(counted: Released) -> Map<String, serde_json::Value> {
    Map::from_iter([("released".to_owned(), json!(counted.released))])
}

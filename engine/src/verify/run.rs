//! The proof from end to end: versions first, so that what runs meanwhile does not look like a difference, then table after table.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use deltalake::kernel::Add;
use ticklake_sql::{Lake, TableName, offset_ranges};

use super::bronze::{self, Held, SharedOrigins, Tally, lock};
use super::files::{self, Shared};
use super::options::{Mode, VerifyOptions};
use super::origins::{Origins, Topic};
use super::ranges;
use super::report::Report;
use super::snapshot::Snapshot;
use crate::{Error, Result};

/// Proves the lake against itself, and against `topic` where Kafka was asked. Offsets that only Kafka can explain are left in `Report::missing`.
pub async fn verify(lake: &Lake, topic: Option<&Topic>, options: &VerifyOptions) -> Result<Report> {
    let started = Instant::now();
    let report: Shared = Arc::new(Mutex::new(Report::new(options.named)));
    let mut proof = Proof {
        lake,
        options,
        report: report.clone(),
        unreadable: HashSet::new(),
    };
    // Derived tables before their input, a side table after its main table: each is at most ahead in what the next step leaves out.
    let silver = Snapshot::newest(lake, &TableName::silver_trades()).await?;
    let quarantine = Snapshot::newest(lake, &TableName::silver_quarantine()).await?;
    let Some(bronze) = Snapshot::newest(lake, &TableName::bronze_trades()).await? else {
        return Err(Error::Invalid(format!(
            "there is no bronze.trades in the lake at {}: name the lake with --lake, or start `ticklake ingest` on it first",
            lake.uri()
        )));
    };
    let dead_letters = Snapshot::newest(lake, &TableName::bronze_dead_letters()).await?;
    let held = match options.mode {
        Mode::Full => Some(proof.bronze_rows(&bronze, dead_letters.as_ref(), topic).await?),
        Mode::Cheap => {
            proof.bronze_tags(&bronze, dead_letters.as_ref(), topic).await?;
            None
        }
    };
    if let Some(silver) = silver {
        proof.silver(&bronze, silver, quarantine, held).await?;
        for gold in &options.gold {
            proof.gold(gold).await?;
        }
    }
    if options.mode == Mode::Full {
        proof.checks().await?;
    }
    let mut report = std::mem::take(&mut *lock(&report));
    report.elapsed = started.elapsed();
    Ok(report)
}

pub(super) struct Proof<'a> {
    pub(super) lake: &'a Lake,
    pub(super) options: &'a VerifyOptions,
    pub(super) report: Shared,
    /// Paths of files that are named already: what reads files passes over them.
    pub(super) unreadable: HashSet<String>,
}

/// What bronze.trades holds, and the files that it was read from.
pub(super) struct HeldBronze {
    pub(super) origins: SharedOrigins,
    pub(super) trades: Held,
    pub(super) files: Vec<Add>,
}

impl Proof<'_> {
    pub(super) fn note(&self, text: String) {
        lock(&self.report).notes.push(text);
    }

    /// The files of a table that are there; the others are named and passed over from now on.
    pub(super) async fn present(&mut self, snapshot: &Snapshot) -> Result<Vec<Add>> {
        let present = files::present(&snapshot.table, &snapshot.adds, &self.report).await?;
        self.pass_over(&snapshot.adds, &present);
        Ok(present)
    }

    pub(super) fn pass_over(&mut self, all: &[Add], read: &[Add]) {
        let read: HashSet<&str> = read.iter().map(|add| add.path.as_str()).collect();
        let rest = all.iter().filter(|add| !read.contains(add.path.as_str()));
        self.unreadable.extend(rest.map(|add| add.path.clone()));
    }

    pub(super) async fn gather(
        &mut self,
        snapshot: &Snapshot,
        adds: Vec<Add>,
        origins: &SharedOrigins,
        held: Held,
        twice: &'static str,
    ) -> Result<(Held, Vec<Add>)> {
        let (table, at_once) = (&snapshot.table, self.options.files_at_once);
        let (held, read) = bronze::gather(table, adds.clone(), at_once, origins, held, twice, &self.report).await?;
        self.pass_over(&adds, &read);
        Ok((held, read))
    }

    /// Bronze row by row.
    async fn bronze_rows(
        &mut self,
        bronze: &Snapshot,
        dead_letters: Option<&Snapshot>,
        topic: Option<&Topic>,
    ) -> Result<HeldBronze> {
        let origins: SharedOrigins = Arc::new(Mutex::new(Origins::of(bronze)));
        let present = self.present(bronze).await?;
        let (trades, read) = self
            .gather(bronze, present, &origins, Held::default(), "record_twice")
            .await?;
        let mut all = trades.clone();
        if let Some(dead_letters) = dead_letters {
            let present = self.present(dead_letters).await?;
            (all, _) = self
                .gather(dead_letters, present, &origins, all, "record_twice")
                .await?;
        }
        let tallies = {
            let origins = lock(&origins);
            let none = super::offsets::Offsets::default();
            let tally = |(number, origin)| {
                let (own, both) = (trades.of(number).unwrap_or(&none), all.of(number).unwrap_or(&none));
                (number, Tally::of(origin, own, both))
            };
            origins.iter().map(tally).collect()
        };
        self.count(&lock(&origins), topic, &tallies);
        Ok(HeldBronze {
            origins,
            trades,
            files: read,
        })
    }

    /// Bronze by its tags; files are read only of partitions that do not add up.
    async fn bronze_tags(
        &mut self,
        bronze: &Snapshot,
        dead_letters: Option<&Snapshot>,
        topic: Option<&Topic>,
    ) -> Result<()> {
        let mut present = self.present(bronze).await?;
        let mut side = Vec::new();
        if let Some(dead_letters) = dead_letters {
            side = self.present(dead_letters).await?;
        }
        let mut origins = Origins::of(bronze);
        let told = ranges::told(&present, &side, &mut origins);
        let mut tallies = told.tallies;
        let origins: SharedOrigins = Arc::new(Mutex::new(origins));
        if told.untagged || !told.open.is_empty() {
            let open: HashSet<(String, i32)> = told.open.into_iter().collect();
            let is_open = |add: &Add| {
                told.untagged
                    || offset_ranges::read(add).is_none_or(|ranges| {
                        ranges
                            .iter()
                            .any(|range| open.contains(&(range.topic_id.clone(), range.partition)))
                    })
            };
            present.retain(is_open);
            side.retain(is_open);
            let (trades, _) = self
                .gather(bronze, present, &origins, Held::default(), "record_twice")
                .await?;
            let mut all = trades.clone();
            if let Some(dead_letters) = dead_letters {
                (all, _) = self.gather(dead_letters, side, &origins, all, "record_twice").await?;
            }
            let none = super::offsets::Offsets::default();
            for (number, origin) in lock(&origins).iter() {
                let is_open = told.untagged || open.contains(&(origin.topic_id.clone(), origin.partition));
                if is_open {
                    let (own, both) = (trades.of(number).unwrap_or(&none), all.of(number).unwrap_or(&none));
                    tallies.insert(number, Tally::of(origin, own, both));
                }
            }
        }
        self.count(&lock(&origins), topic, &tallies);
        Ok(())
    }

    fn count(&self, origins: &Origins, topic: Option<&Topic>, tallies: &HashMap<usize, Tally>) {
        let counted = bronze::count(origins, topic, tallies);
        let mut report = lock(&self.report);
        report.origins = counted.origins;
        report.missing = counted.missing;
        for (count, difference) in counted.differences {
            report.differ(count, difference);
        }
    }
}

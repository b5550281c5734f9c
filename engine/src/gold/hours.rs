//! The bars that gold holds, an hour of windows at a time: read when asked for, changed in memory, written back as one file.
//!
//! Only hours that a refresh touches are in memory; of others, and of those it has written, no more than where each series begins and ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use deltalake::kernel::{Add, Remove};
use ticklake_sql::Table;

use super::bar::{Bar, Key, Series};
use super::calendar::Calendar;
use super::files::Files;
use super::interval::{DAY_US, Interval};
use super::model::Model;
use super::neighbours::Outline;
use super::revisions::KeepRevisions;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Hours kept in memory between two refreshes: the open one and the one before.
const KEPT_HOURS: usize = 3;

/// Bars of one hour.
#[derive(Debug, Default)]
pub(super) struct Hour {
    pub bars: BTreeMap<Key, Bar>,
    /// Active files that these bars come from.
    pub paths: BTreeSet<String>,
    pub is_changed: bool,
    /// The files were written by this refresh, and no commit holds them yet.
    pub is_written: bool,
}

pub struct Hours {
    pub(super) table: Table,
    pub(super) interval: Interval,
    pub(super) calendar: Calendar,
    pub(super) zstd_level: i32,
    pub(super) files: Files,
    /// Start of an hour -> active files with bars in it.
    pub(super) index: BTreeMap<i64, BTreeSet<String>>,
    pub(super) loaded: BTreeMap<i64, Hour>,
    pub(super) outlines: BTreeMap<i64, Outline>,
    /// No bar of the series starts before this.
    pub(super) first_known: HashMap<Series, i64>,
    pub(super) adds: Vec<Add>,
    pub(super) removed: BTreeSet<String>,
    /// Hours that this refresh has written and dropped.
    pub(super) written: BTreeSet<i64>,
    /// Bars of gold that this refresh has put others in the place of, or taken out.
    pub(super) originals: BTreeMap<Key, Original>,
}

/// A bar as gold holds it, which the next commit supersedes.
#[derive(Debug)]
pub struct Original {
    pub bar: Bar,
    /// What takes its place has other numbers, or nothing does.
    pub is_corrected: bool,
}

impl Hours {
    pub fn new(table: Table, calendar: Calendar, zstd_level: i32, files: Files) -> Self {
        let mut hours = Self {
            table,
            interval: calendar.interval(),
            calendar,
            zstd_level,
            files,
            index: BTreeMap::new(),
            loaded: BTreeMap::new(),
            outlines: BTreeMap::new(),
            first_known: HashMap::new(),
            adds: Vec::new(),
            removed: BTreeSet::new(),
            written: BTreeSet::new(),
            originals: BTreeMap::new(),
        };
        hours.reindex();
        hours
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Takes over a commit to gold. What it changed is forgotten, unless it is what this refresh has just written.
    pub fn apply(&mut self, adds: &[Add], removes: &[Remove]) {
        self.files.apply(adds, removes, self.table.spec());
        self.reindex();
        let index = &self.index;
        let is_current =
            |hour: &i64, paths: &BTreeSet<String>| index.get(hour).map_or(paths.is_empty(), |active| active == paths);
        let before = self.loaded.len() + self.outlines.len();
        self.loaded.retain(|start, hour| is_current(start, &hour.paths));
        self.outlines.retain(|start, outline| is_current(start, &outline.paths));
        if self.loaded.len() + self.outlines.len() < before {
            self.first_known.clear();
        }
    }

    /// Forgets what a failed refresh has changed in memory.
    pub fn reset(&mut self) {
        self.loaded.clear();
        self.outlines.clear();
        self.first_known.clear();
        self.adds.clear();
        self.removed.clear();
        self.written.clear();
        self.originals.clear();
    }

    fn reindex(&mut self) {
        self.index.clear();
        for file in self.files.iter() {
            for hour in hours_of(file, self.interval) {
                self.index.entry(hour).or_default().insert(file.add.path.clone());
            }
        }
    }

    /// Starts of the hours that overlap `[from, until)` and have bars.
    pub fn between(&self, from: i64, until: i64) -> Vec<i64> {
        let first = if from == i64::MIN {
            from
        } else {
            self.interval.hour_of(from)
        };
        let stored = self.index.range(first..until.max(first)).map(|(hour, _)| *hour);
        let loaded = self.loaded.range(first..until.max(first)).map(|(hour, _)| *hour);
        let written = self.written.range(first..until.max(first)).copied();
        stored
            .chain(loaded)
            .chain(written)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// Brings an hour into memory, with every hour that shares a file with it.
    pub async fn load(&mut self, hour: i64, model: &Model) -> Result<()> {
        if self.written.remove(&hour) {
            return self.reload(hour, model).await;
        }
        let mut wanted = vec![hour];
        let mut paths = BTreeSet::new();
        let mut hours = BTreeSet::new();
        while let Some(hour) = wanted.pop() {
            if self.loaded.contains_key(&hour) || !hours.insert(hour) {
                continue;
            }
            if self.written.contains(&hour) {
                return Err(Error::Internal(
                    "an hour of bars was written without one that shares a file with it".into(),
                ));
            }
            for path in self.index.get(&hour).into_iter().flatten() {
                if paths.insert(path.clone()) {
                    wanted.extend(
                        self.files
                            .get(path)
                            .into_iter()
                            .flat_map(|file| hours_of(file, self.interval)),
                    );
                }
            }
        }
        for hour in &hours {
            let paths = self.index.get(hour).cloned().unwrap_or_default();
            self.loaded.insert(
                *hour,
                Hour {
                    paths,
                    ..Hour::default()
                },
            );
        }
        for (key, bar) in model.stored(&self.table, self.active(&paths)).await? {
            if let Some(hour) = self.loaded.get_mut(&self.interval.hour_of(key.start)) {
                hour.bars.insert(key, bar);
            }
        }
        Ok(())
    }

    /// Brings back an hour that this refresh has written. Its files are not committed: they give way to others if it changes again.
    async fn reload(&mut self, hour: i64, model: &Model) -> Result<()> {
        let Some(outline) = self.outlines.remove(&hour) else {
            return Err(Error::Internal("an hour of bars was written without an outline".into()));
        };
        let ours = self.adds.iter().filter(|add| outline.paths.contains(&add.path));
        let files = ours
            .map(|add| Arc::new(DataFile::new(add.clone(), self.table.spec())))
            .collect();
        let mut bars = BTreeMap::new();
        for (key, mut bar) in model.stored(&self.table, files).await? {
            // Of bars that are new, only the last of a series can change again: by what comes after it.
            let is_new = outline
                .series
                .get(&key.series)
                .is_some_and(|ends| ends.last_start == key.start && !ends.last_is_committed);
            bar.is_committed = !is_new && !self.originals.contains_key(&key);
            bars.insert(key, bar);
        }
        let loaded = Hour {
            bars,
            paths: outline.paths,
            is_changed: false,
            is_written: true,
        };
        self.loaded.insert(hour, loaded);
        Ok(())
    }

    pub(super) fn active(&self, paths: &BTreeSet<String>) -> Vec<Arc<DataFile>> {
        paths.iter().filter_map(|path| self.files.get(path).cloned()).collect()
    }

    pub fn is_loaded(&self, hour: i64) -> bool {
        self.loaded.contains_key(&hour)
    }

    /// Bars of a loaded hour.
    pub fn bars(&self, hour: i64) -> impl Iterator<Item = (&Key, &Bar)> {
        self.loaded.get(&hour).into_iter().flat_map(|hour| &hour.bars)
    }

    pub fn get(&self, key: &Key) -> Option<&Bar> {
        self.loaded.get(&self.interval.hour_of(key.start))?.bars.get(key)
    }

    /// Puts a bar in its place, or takes it out, in a loaded hour.
    pub fn set(&mut self, key: Key, bar: Option<Bar>) {
        let start = self.interval.hour_of(key.start);
        if self
            .first_known
            .get(&key.series)
            .is_some_and(|first| key.start < *first)
        {
            self.first_known.remove(&key.series);
        }
        let hour = self.loaded.entry(start).or_default();
        match bar {
            Some(bar) => hour.bars.insert(key, bar),
            None => hour.bars.remove(&key),
        };
        if !hour.is_changed {
            hour.is_changed = true;
            // A file that is taken out takes out all its hours.
            let paths = hour.paths.clone();
            for other in self
                .loaded
                .values_mut()
                .filter(|other| !other.paths.is_disjoint(&paths))
            {
                other.is_changed = true;
            }
        }
    }

    /// After a commit: what it holds stands; all but the newest hours are forgotten.
    pub fn settle(&mut self) {
        self.originals.clear();
        for hour in self.loaded.values_mut() {
            hour.is_written = false;
            hour.bars.values_mut().for_each(|bar| bar.is_committed = true);
        }
        while self.loaded.len() > KEPT_HOURS {
            self.loaded.pop_first();
        }
    }

    /// States that the next commit supersedes.
    pub fn superseded(&self, keep: KeepRevisions) -> BTreeMap<Key, Bar> {
        let kept = self.originals.iter().filter(|(_, original)| keep.wants(original));
        kept.map(|(key, original)| (key.clone(), original.bar.clone()))
            .collect()
    }

    pub fn loaded_hours(&self) -> usize {
        self.loaded.len()
    }
}

fn hours_of(file: &DataFile, interval: Interval) -> Vec<i64> {
    let (first, last) = match (file.micros("window_start"), file.bounds("date")) {
        ((i64::MIN, _), Some(date)) => match (&date.min, &date.max) {
            (crate::scan::file::Bound::Days(min), crate::scan::file::Bound::Days(max)) => {
                (i64::from(*min) * DAY_US, (i64::from(*max) + 1) * DAY_US - 1)
            }
            _ => return Vec::new(),
        },
        ((first, last), _) => (first, last),
    };
    if first == i64::MIN {
        return Vec::new();
    }
    let (first, last) = (interval.hour_of(first), interval.hour_of(last));
    (0..=(last - first) / interval.hour_us())
        .map(|n| first + n * interval.hour_us())
        .collect()
}

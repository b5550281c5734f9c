//! The bars that gold holds, an hour of windows at a time: read when asked for, changed in memory, written back as one file.
//!
//! Only hours that a refresh touches are in memory; of others, and of those it has written, no more than where each series begins and ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::DateTime;
use deltalake::kernel::{Add, Remove};
use ticklake_sql::Table;
use ticklake_sql::commit::removal;
use ticklake_sql::data_file::{self, FileOptions};

use super::bar::{Bar, Key, Series};
use super::columns::encode;
use super::files::Files;
use super::interval::{DAY_US, Interval};
use super::model::Model;
use crate::error::Step;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Hours kept in memory between two refreshes: the open one and the one before.
const KEPT_HOURS: usize = 3;

/// Bars of one hour.
#[derive(Debug, Default)]
struct Hour {
    bars: BTreeMap<Key, Bar>,
    /// Active files that these bars come from.
    paths: BTreeSet<String>,
    is_changed: bool,
}

/// First and last bar of a series within an hour.
#[derive(Debug, Clone, Copy)]
struct Ends {
    first_start: i64,
    last_start: i64,
    last_seq: i64,
}

/// What is known of an hour that is not in memory.
#[derive(Debug)]
struct Outline {
    paths: BTreeSet<String>,
    series: HashMap<Series, Ends>,
}

pub struct Hours {
    table: Table,
    interval: Interval,
    zstd_level: i32,
    files: Files,
    /// Start of an hour -> active files with bars in it.
    index: BTreeMap<i64, BTreeSet<String>>,
    loaded: BTreeMap<i64, Hour>,
    outlines: BTreeMap<i64, Outline>,
    /// No bar of the series starts before this.
    first_known: HashMap<Series, i64>,
    adds: Vec<Add>,
    removed: BTreeSet<String>,
    /// Hours that this refresh has written and dropped.
    written: BTreeSet<i64>,
}

/// Files of one commit.
#[derive(Debug, Default)]
pub struct Written {
    pub adds: Vec<Add>,
    pub removes: Vec<Remove>,
}

impl Hours {
    pub fn new(table: Table, interval: Interval, zstd_level: i32, files: Files) -> Self {
        let mut hours = Self {
            table,
            interval,
            zstd_level,
            files,
            index: BTreeMap::new(),
            loaded: BTreeMap::new(),
            outlines: BTreeMap::new(),
            first_known: HashMap::new(),
            adds: Vec::new(),
            removed: BTreeSet::new(),
            written: BTreeSet::new(),
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
        let mut wanted = vec![hour];
        let mut paths = BTreeSet::new();
        let mut hours = BTreeSet::new();
        while let Some(hour) = wanted.pop() {
            if self.loaded.contains_key(&hour) || !hours.insert(hour) {
                continue;
            }
            if self.written.contains(&hour) {
                return Err(Error::Internal(
                    "an hour of bars is asked for after it was written".into(),
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

    fn active(&self, paths: &BTreeSet<String>) -> Vec<Arc<DataFile>> {
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

    /// The last seq of the last bar of `series` that starts before `start`.
    pub async fn seq_before(&mut self, series: &Series, start: i64, model: &Model) -> Result<Option<i64>> {
        let first_known = self.first_known.get(series).copied();
        if first_known.is_some_and(|first| start <= first) {
            return Ok(None);
        }
        let key = |start| Key {
            series: series.clone(),
            start,
        };
        let lowest = first_known.map_or(i64::MIN, |first| self.interval.hour_of(first));
        for hour in self.between(lowest, start).into_iter().rev() {
            if let Some(loaded) = self.loaded.get(&hour) {
                if let Some((_, bar)) = loaded.bars.range(key(i64::MIN)..key(start)).next_back() {
                    return Ok(Some(bar.content.values.last_seq));
                }
                continue;
            }
            let ends = self.outline(hour, model).await?.get(series).copied();
            match ends {
                Some(ends) if ends.last_start < start => return Ok(Some(ends.last_seq)),
                Some(ends) if ends.first_start < start => {
                    self.load(hour, model).await?;
                    let before = self
                        .loaded
                        .get(&hour)
                        .and_then(|loaded| loaded.bars.range(key(i64::MIN)..key(start)).next_back());
                    return Ok(before.map(|(_, bar)| bar.content.values.last_seq));
                }
                _ => {}
            }
        }
        self.first_known.insert(series.clone(), start);
        Ok(None)
    }

    /// The first bar of `series` that starts at `start` or later.
    pub async fn first_from(&mut self, series: &Series, start: i64, model: &Model) -> Result<Option<Key>> {
        let key = |start| Key {
            series: series.clone(),
            start,
        };
        for hour in self.between(start, i64::MAX) {
            if let Some(loaded) = self.loaded.get(&hour) {
                if let Some((found, _)) = loaded.bars.range(key(start)..=key(i64::MAX)).next() {
                    return Ok(Some(found.clone()));
                }
                continue;
            }
            let ends = self.outline(hour, model).await?.get(series).copied();
            if let Some(ends) = ends.filter(|ends| ends.last_start >= start) {
                if ends.first_start >= start {
                    return Ok(Some(key(ends.first_start)));
                }
                self.load(hour, model).await?;
                let found = self
                    .loaded
                    .get(&hour)
                    .and_then(|loaded| loaded.bars.range(key(start)..=key(i64::MAX)).next());
                return Ok(found.map(|(found, _)| found.clone()));
            }
        }
        Ok(None)
    }

    async fn outline(&mut self, hour: i64, model: &Model) -> Result<&HashMap<Series, Ends>> {
        if !self.outlines.contains_key(&hour) {
            let paths = self.index.get(&hour).cloned().unwrap_or_default();
            let bars = model.stored(&self.table, self.active(&paths)).await?;
            let series = outline(
                bars.iter()
                    .filter(|(key, _)| self.interval.hour_of(key.start) == hour)
                    .map(|(key, bar)| (key, bar)),
            );
            self.outlines.insert(hour, Outline { paths, series });
        }
        self.outlines
            .get(&hour)
            .map(|outline| &outline.series)
            .ok_or_else(|| Error::Internal("an outline of bars is missing".into()))
    }

    /// Writes the changed hours before `until` into files and drops them from memory: nothing before it changes any more in this refresh.
    pub async fn write_before(&mut self, until: i64) -> Result<()> {
        let before: Vec<i64> = self.loaded.range(..until).map(|(start, _)| *start).collect();
        for start in before {
            let Some(mut hour) = self.loaded.remove(&start) else {
                continue;
            };
            if hour.is_changed {
                self.write(&mut hour).await?;
                self.written.insert(start);
            }
            self.outlines.insert(
                start,
                Outline {
                    series: outline(hour.bars.iter()),
                    paths: hour.paths,
                },
            );
        }
        Ok(())
    }

    /// Writes one hour; it comes from the new files then.
    async fn write(&mut self, hour: &mut Hour) -> Result<()> {
        let mut partitions: BTreeMap<BTreeMap<String, String>, Vec<(&Key, &Bar)>> = BTreeMap::new();
        for (key, bar) in &hour.bars {
            partitions.entry(self.partition(key)).or_default().push((key, bar));
        }
        let mut paths = BTreeSet::new();
        for (partition, mut bars) in partitions {
            bars.sort_by(|(a, _), (b, _)| {
                (&a.series.symbol, a.start, &a.series.venue).cmp(&(&b.series.symbol, b.start, &b.series.venue))
            });
            let batch = encode(&bars, self.interval, &self.table.spec().file_schema())?;
            let options = FileOptions {
                zstd_level: self.zstd_level,
                ..FileOptions::default()
            };
            let add = data_file::write(&self.table, partition, vec![batch], options)
                .await
                .step("write bars")?;
            paths.insert(add.path.clone());
            self.adds.push(add);
        }
        self.removed.extend(std::mem::replace(&mut hour.paths, paths));
        hour.is_changed = false;
        Ok(())
    }

    fn partition(&self, key: &Key) -> BTreeMap<String, String> {
        let value = |column: &String| match column.as_str() {
            "symbol" => key.series.symbol.to_string(),
            "venue" => key.series.venue.to_string(),
            _ => DateTime::from_timestamp_micros(key.start)
                .unwrap_or_default()
                .format("%Y-%m-%d")
                .to_string(),
        };
        self.table
            .spec()
            .partition_columns
            .iter()
            .map(|column| (column.clone(), value(column)))
            .collect()
    }

    /// Writes what is changed still; returns all that this refresh has written.
    pub async fn finish(&mut self) -> Result<Written> {
        let mut loaded = std::mem::take(&mut self.loaded);
        for hour in loaded.values_mut().filter(|hour| hour.is_changed) {
            self.write(hour).await?;
        }
        self.loaded = loaded;
        self.written.clear();
        let now = self.table.lake().clock().now();
        let removed = std::mem::take(&mut self.removed);
        let removes = removed
            .iter()
            .filter_map(|path| self.files.get(path))
            .map(|file| removal(&file.add, now, true))
            .collect();
        Ok(Written {
            adds: std::mem::take(&mut self.adds),
            removes,
        })
    }

    /// After a commit: forgets all but the newest hours.
    pub fn settle(&mut self) {
        while self.loaded.len() > KEPT_HOURS {
            self.loaded.pop_first();
        }
    }

    pub fn loaded_hours(&self) -> usize {
        self.loaded.len()
    }
}

fn outline<'a>(bars: impl Iterator<Item = (&'a Key, &'a Bar)>) -> HashMap<Series, Ends> {
    let mut series: HashMap<Series, Ends> = HashMap::new();
    for (key, bar) in bars {
        let ends = Ends {
            first_start: key.start,
            last_start: key.start,
            last_seq: bar.content.values.last_seq,
        };
        let known = series.entry(key.series.clone()).or_insert(ends);
        known.first_start = known.first_start.min(key.start);
        if key.start >= known.last_start {
            (known.last_start, known.last_seq) = (key.start, ends.last_seq);
        }
    }
    series
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

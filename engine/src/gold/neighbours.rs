//! What stands before and after a bar, in whichever hour: from memory where the hour is loaded, else from where each series begins and ends.

use std::collections::{BTreeSet, HashMap};

use super::bar::{Bar, Key, Series};
use super::hours::Hours;
use super::model::Model;
use crate::{Error, Result};

/// First and last bar of a series within an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    first_start: i64,
    last_start: i64,
    last_seq: i64,
}

/// What is known of an hour that is not in memory.
#[derive(Debug)]
pub(super) struct Outline {
    pub paths: BTreeSet<String>,
    pub series: HashMap<Series, Ends>,
}

impl Hours {
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
}

/// Begin and end of each series in `bars`.
pub(super) fn outline<'a>(bars: impl Iterator<Item = (&'a Key, &'a Bar)>) -> HashMap<Series, Ends> {
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

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
    first_seq: i64,
    pub last_start: i64,
    last_seq: i64,
    pub last_is_committed: bool,
}

/// A bar next to another one, and its seq where the two meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub start: i64,
    pub seq: i64,
}

/// What is known of an hour that is not in memory.
#[derive(Debug)]
pub(super) struct Outline {
    pub paths: BTreeSet<String>,
    pub series: HashMap<Series, Ends>,
}

impl Hours {
    /// The last bar of `series` that starts before `start`, and its last seq.
    pub async fn before(&mut self, series: &Series, start: i64, model: &Model) -> Result<Option<Neighbour>> {
        let first_known = self.first_known.get(series).copied();
        if first_known.is_some_and(|first| start <= first) {
            return Ok(None);
        }
        let lowest = first_known.map_or(i64::MIN, |first| self.interval.hour_of(first));
        for hour in self.between(lowest, start).into_iter().rev() {
            if !self.is_loaded(hour) {
                let ends = self.outline(hour, model).await?.get(series).copied();
                match ends {
                    Some(ends) if ends.last_start < start => return Ok(Some(ends.last())),
                    Some(ends) if ends.first_start < start => self.load(hour, model).await?,
                    _ => continue,
                }
            }
            let bars = self.loaded.get(&hour).map(|loaded| &loaded.bars);
            let before = bars.and_then(|bars| bars.range(key(series, i64::MIN)..key(series, start)).next_back());
            if let Some((key, bar)) = before {
                return Ok(Some(Neighbour {
                    start: key.start,
                    seq: bar.content.values.last_seq,
                }));
            }
        }
        self.first_known.insert(series.clone(), start);
        Ok(None)
    }

    /// The first bar of `series` that starts at `start` or later, and its first seq.
    pub async fn from(&mut self, series: &Series, start: i64, model: &Model) -> Result<Option<Neighbour>> {
        for hour in self.between(start, i64::MAX) {
            if !self.is_loaded(hour) {
                let ends = self.outline(hour, model).await?.get(series).copied();
                match ends {
                    Some(ends) if ends.first_start >= start => return Ok(Some(ends.first())),
                    Some(ends) if ends.last_start >= start => self.load(hour, model).await?,
                    _ => continue,
                }
            }
            let bars = self.loaded.get(&hour).map(|loaded| &loaded.bars);
            let from = bars.and_then(|bars| bars.range(key(series, start)..=key(series, i64::MAX)).next());
            if let Some((key, bar)) = from {
                return Ok(Some(Neighbour {
                    start: key.start,
                    seq: bar.content.values.first_seq,
                }));
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

impl Ends {
    fn first(self) -> Neighbour {
        Neighbour {
            start: self.first_start,
            seq: self.first_seq,
        }
    }

    fn last(self) -> Neighbour {
        Neighbour {
            start: self.last_start,
            seq: self.last_seq,
        }
    }
}

fn key(series: &Series, start: i64) -> Key {
    Key {
        series: series.clone(),
        start,
    }
}

/// Begin and end of each series in `bars`.
pub(super) fn outline<'a>(bars: impl Iterator<Item = (&'a Key, &'a Bar)>) -> HashMap<Series, Ends> {
    let mut series: HashMap<Series, Ends> = HashMap::new();
    for (key, bar) in bars {
        let values = &bar.content.values;
        let ends = Ends {
            first_start: key.start,
            first_seq: values.first_seq,
            last_start: key.start,
            last_seq: values.last_seq,
            last_is_committed: bar.is_committed,
        };
        let known = series.entry(key.series.clone()).or_insert(ends);
        if key.start < known.first_start {
            (known.first_start, known.first_seq) = (ends.first_start, ends.first_seq);
        }
        if key.start >= known.last_start {
            (known.last_start, known.last_seq) = (ends.last_start, ends.last_seq);
            known.last_is_committed = ends.last_is_committed;
        }
    }
    series
}

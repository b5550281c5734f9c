//! Puts the bars that the model computed in the place of those that gold holds, and says what that means for their neighbours.

use std::collections::{BTreeMap, BTreeSet};

use super::GoldOptions;
use super::bar::{Bar, Computed, Content, Key, Series, is_complete};
use super::hours::Hours;
use super::input::Watermarks;
use super::interval::Interval;
use super::model::Model;
use super::windows::Range;
use crate::Result;

/// What decides over a bar beside its trades.
pub struct Rules<'a> {
    pub options: &'a GoldOptions,
    pub interval: Interval,
    pub watermarks: &'a Watermarks,
    /// Time of this computation, microseconds.
    pub now_us: i64,
}

impl Rules<'_> {
    pub fn is_closed(&self, venue: &str, start: i64) -> bool {
        let lateness_us = i64::try_from(self.options.allowed_lateness.as_micros()).unwrap_or(i64::MAX);
        let closes_at = start
            .saturating_add(self.interval.width_us())
            .saturating_add(lateness_us);
        self.watermarks
            .get(venue)
            .is_some_and(|watermark| *watermark >= closes_at)
    }

    fn is_contiguous(&self, series: &Series) -> bool {
        self.options.contiguous.contains(&*series.venue)
    }
}

#[derive(Debug, Default)]
pub struct Replaced {
    /// Bars that were new, changed or taken out.
    pub changed: u64,
    /// Of these, bars that stood before.
    pub superseded: u64,
    /// Bars whose sums do not fit their columns: they are not in gold.
    pub withheld: Vec<Key>,
    /// Bars after the range that follow another bar now.
    pub follow: BTreeSet<Key>,
}

/// Replaces every bar of `range` by those of `computed`.
pub async fn replace(
    hours: &mut Hours,
    model: &Model,
    rules: &Rules<'_>,
    range: &Range,
    computed: Vec<Computed>,
) -> Result<Replaced> {
    let mut replaced = Replaced::default();
    let mut series: BTreeMap<Series, BTreeMap<i64, Option<Computed>>> = BTreeMap::new();
    for bar in computed {
        hours_of_interest(hours, model, rules.interval.hour_of(bar.key.start)).await?;
        series
            .entry(bar.key.series.clone())
            .or_default()
            .insert(bar.key.start, Some(bar));
    }
    for hour in hours.between(range.from, range.until) {
        hours_of_interest(hours, model, hour).await?;
        for (key, _) in hours.bars(hour).filter(|(key, _)| range.holds(key)) {
            series
                .entry(key.series.clone())
                .or_default()
                .entry(key.start)
                .or_insert(None);
        }
    }
    for (series, bars) in series {
        replace_series(hours, model, rules, range, series, bars, &mut replaced).await?;
    }
    Ok(replaced)
}

async fn hours_of_interest(hours: &mut Hours, model: &Model, hour: i64) -> Result<()> {
    if hours.is_loaded(hour) {
        Ok(())
    } else {
        hours.load(hour, model).await
    }
}

/// `bars`: every window of the series in the range that has a bar now (`Some`) or had one before (`None`).
async fn replace_series(
    hours: &mut Hours,
    model: &Model,
    rules: &Rules<'_>,
    range: &Range,
    series: Series,
    bars: BTreeMap<i64, Option<Computed>>,
    replaced: &mut Replaced,
) -> Result<()> {
    let links = rules.is_contiguous(&series);
    let mut previous_seq = if links {
        hours.seq_before(&series, range.from, model).await?
    } else {
        None
    };
    let key = |start| Key {
        series: series.clone(),
        start,
    };
    let last_before = bars
        .keys()
        .rev()
        .find_map(|start| hours.get(&key(*start)))
        .map(|bar| bar.content.values.last_seq);
    let mut last_after = None;
    for (start, bar) in &bars {
        let key = key(*start);
        let (values, rows) = match bar {
            Some(Computed {
                values: Some(values),
                rows,
                ..
            }) => (values.clone(), *rows),
            Some(_) => {
                replaced.withheld.push(key.clone());
                take_out(hours, key, replaced);
                continue;
            }
            None => {
                take_out(hours, key, replaced);
                continue;
            }
        };
        let is_complete = if links {
            is_complete(&values, rows, previous_seq)
        } else {
            None
        };
        previous_seq = Some(values.last_seq);
        last_after = previous_seq;
        let content = Content {
            values,
            is_closed: rules.is_closed(&series.venue, *start),
            is_complete,
        };
        put(hours, key, content, rules, replaced);
    }
    if links && last_before != last_after {
        replaced
            .follow
            .extend(hours.first_from(&series, range.until, model).await?);
    }
    Ok(())
}

fn take_out(hours: &mut Hours, key: Key, replaced: &mut Replaced) {
    if hours.get(&key).is_some() {
        hours.set(key, None);
        replaced.changed += 1;
        replaced.superseded += 1;
    }
}

/// An equal bar stays as it is, with its revision and time.
fn put(hours: &mut Hours, key: Key, content: Content, rules: &Rules<'_>, replaced: &mut Replaced) {
    let revision = match hours.get(&key) {
        Some(old) if old.content == content => return,
        Some(old) => {
            replaced.superseded += 1;
            old.revision + 1
        }
        None => 1,
    };
    replaced.changed += 1;
    hours.set(
        key,
        Some(Bar {
            content,
            revision,
            computed_at: rules.now_us,
        }),
    );
}

/// Closes the bars whose windows the watermarks have passed since `before`, and opens those that they went back over (`None`: since ever).
pub async fn close_passed(
    hours: &mut Hours,
    model: &Model,
    rules: &Rules<'_>,
    before: Option<&Watermarks>,
) -> Result<Replaced> {
    let mut replaced = Replaced::default();
    let lateness_us = i64::try_from(rules.options.allowed_lateness.as_micros()).unwrap_or(i64::MAX);
    let reach = |ts: i64| ts.saturating_sub(lateness_us).saturating_sub(rules.interval.width_us());
    for (venue, now) in rules.watermarks {
        let was = before.and_then(|before| before.get(venue)).copied();
        if was == Some(*now) {
            continue;
        }
        let (from, until) = match was {
            Some(was) => (reach(was.min(*now)), reach(was.max(*now)).saturating_add(1)),
            None if before.is_some() => continue,
            None => (i64::MIN, i64::MAX),
        };
        for hour in hours.between(from, until) {
            hours_of_interest(hours, model, hour).await?;
            let turned: Vec<(Key, Content)> = hours
                .bars(hour)
                .filter(|(key, bar)| {
                    *key.series.venue == **venue && bar.content.is_closed != rules.is_closed(venue, key.start)
                })
                .map(|(key, bar)| {
                    (
                        key.clone(),
                        Content {
                            is_closed: !bar.content.is_closed,
                            ..bar.content.clone()
                        },
                    )
                })
                .collect();
            turned
                .into_iter()
                .for_each(|(key, content)| put(hours, key, content, rules, &mut replaced));
        }
    }
    Ok(replaced)
}

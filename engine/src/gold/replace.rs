//! Puts the bars that the model computed in the place of those that gold holds, and says what that means for their neighbours.

use std::collections::{BTreeMap, BTreeSet};

use super::GoldOptions;
use super::bar::{Bar, Computed, Content, Key, Series, Values, is_complete, is_whole};
use super::calendar::Calendar;
use super::hours::{Hours, Original};
use super::model::Model;
use super::neighbours::Neighbour;
use super::windows::Range;
use crate::Result;
use crate::watermarks::Watermarks;

/// What decides over a bar beside its trades.
pub struct Rules<'a> {
    pub options: &'a GoldOptions,
    pub calendar: &'a Calendar,
    pub watermarks: &'a Watermarks,
    /// Time of this computation, microseconds.
    pub now_us: i64,
}

impl Rules<'_> {
    pub fn is_closed(&self, venue: &str, start: i64) -> bool {
        let lateness_us = i64::try_from(self.options.allowed_lateness.as_micros()).unwrap_or(i64::MAX);
        let closes_at = self.calendar.end_of(venue, start).saturating_add(lateness_us);
        self.watermarks
            .get(venue)
            .is_some_and(|watermark| *watermark >= closes_at)
    }

    fn computed(&self, content: Content, revision: i64) -> Bar {
        Bar {
            content,
            revision,
            computed_at: self.now_us,
            is_committed: false,
        }
    }

    pub(super) fn is_contiguous(&self, series: &Series) -> bool {
        self.options.contiguous.contains(&*series.venue) && !self.calendar.has_pauses(&series.venue)
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
    /// Bars beside the range that meet another bar now, and whose trades tell whether they are complete.
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
        hours_of_interest(hours, model, rules.calendar.interval().hour_of(bar.key.start)).await?;
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
    let key = |start| Key {
        series: series.clone(),
        start,
    };
    let links = rules.is_contiguous(&series);
    let (before, after) = if links {
        let before = hours.before(&series, range.from, model).await?;
        (before, hours.from(&series, range.until, model).await?)
    } else {
        (None, None)
    };
    let (seq_before, seq_after) = (before.map(|bar| bar.seq), after.map(|bar| bar.seq));
    let stored = bars.keys().filter_map(|start| hours.get(&key(*start)));
    let stood = ends(stored.map(|bar| &bar.content.values));

    let mut traded: Vec<(i64, Values, i64)> = Vec::with_capacity(bars.len());
    for (start, bar) in bars {
        match bar.map(|bar| (bar.values, bar.rows)) {
            Some((Some(values), rows)) => {
                traded.push((start, values, rows));
                continue;
            }
            Some((None, _)) => replaced.withheld.push(key(start)),
            None => {}
        }
        take_out(hours, key(start), replaced);
    }
    for (at, (start, values, rows)) in traded.iter().enumerate() {
        let seq_before = at.checked_sub(1).map(|at| traded[at].1.last_seq).or(seq_before);
        let seq_after = traded.get(at + 1).map(|next| next.1.first_seq).or(seq_after);
        let content = Content {
            values: values.clone(),
            is_closed: rules.is_closed(&series.venue, *start),
            is_complete: links
                .then(|| is_complete(is_whole(values, *rows), values, seq_before, seq_after))
                .flatten(),
        };
        put(hours, key(*start), content, rules, replaced);
    }

    let stands = ends(traded.iter().map(|bar| &bar.1));
    if let Some(before) =
        before.filter(|_| stood.map(|ends| ends.0).or(seq_after) != stands.map(|ends| ends.0).or(seq_after))
    {
        meet(hours, model, rules, key(before.start), replaced).await?;
    }
    if let Some(after) =
        after.filter(|_| stood.map(|ends| ends.1).or(seq_before) != stands.map(|ends| ends.1).or(seq_before))
    {
        meet(hours, model, rules, key(after.start), replaced).await?;
    }
    Ok(())
}

/// First seq of the first bar and last seq of the last.
fn ends<'a>(mut bars: impl Iterator<Item = &'a Values>) -> Option<(i64, i64)> {
    let first = bars.next()?;
    let last = bars.last().unwrap_or(first);
    Some((first.first_seq, last.last_seq))
}

/// The bar of `key` meets other bars than before.
async fn meet(hours: &mut Hours, model: &Model, rules: &Rules<'_>, key: Key, replaced: &mut Replaced) -> Result<()> {
    hours_of_interest(hours, model, rules.calendar.interval().hour_of(key.start)).await?;
    let Some(mut content) = hours.get(&key).map(|bar| bar.content.clone()) else {
        return Ok(());
    };
    if content.is_complete == Some(false) {
        // Only its trades tell whether the hole is inside.
        replaced.follow.insert(key);
        return Ok(());
    }
    let seq = |bar: Option<Neighbour>| bar.map(|bar| bar.seq);
    let before = seq(hours.before(&key.series, key.start, model).await?);
    let after = seq(hours.from(&key.series, key.start.saturating_add(1), model).await?);
    content.is_complete = is_complete(true, &content.values, before, after);
    put(hours, key, content, rules, replaced);
    Ok(())
}

fn take_out(hours: &mut Hours, key: Key, replaced: &mut Replaced) {
    let Some(old) = hours.get(&key).cloned() else {
        return;
    };
    if let Some(original) = hours.originals.get_mut(&key) {
        original.is_corrected = true;
    } else if old.is_committed {
        replaced.changed += 1;
        replaced.superseded += 1;
        let original = Original {
            bar: old,
            is_corrected: true,
        };
        hours.originals.insert(key.clone(), original);
    }
    hours.set(key, None);
}

/// An equal bar stays as it is, with its revision and time; one that gold holds goes up by one revision a commit, however often it changes
/// on the way there.
fn put(hours: &mut Hours, key: Key, content: Content, rules: &Rules<'_>, replaced: &mut Replaced) {
    match hours.get(&key).cloned() {
        Some(old) if old.content == content => return,
        Some(old) if old.is_committed => {
            replaced.changed += 1;
            replaced.superseded += 1;
            let original = Original {
                bar: old,
                is_corrected: false,
            };
            hours.originals.insert(key.clone(), original);
        }
        Some(_) => {}
        None => replaced.changed += 1,
    }
    let bar = match hours.originals.get_mut(&key) {
        Some(original) if original.bar.content == content => original.bar.clone(),
        Some(original) => {
            original.is_corrected = original.bar.content.values != content.values;
            rules.computed(content, original.bar.revision + 1)
        }
        None => rules.computed(content, 1),
    };
    if bar.is_committed {
        hours.originals.remove(&key);
    }
    hours.set(key, Some(bar));
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
    let (shortest_us, longest_us) = rules.calendar.widths_us();
    let reach = |ts: i64, width_us: i64| ts.saturating_sub(lateness_us).saturating_sub(width_us);
    for (venue, now) in rules.watermarks {
        let was = before.and_then(|before| before.get(venue)).copied();
        if was == Some(*now) {
            continue;
        }
        let (from, until) = match was {
            Some(was) => (
                reach(was.min(*now), longest_us),
                reach(was.max(*now), shortest_us).saturating_add(1),
            ),
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

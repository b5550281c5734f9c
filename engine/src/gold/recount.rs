//! The bars of a gold table against the same bars computed again from silver, date by date: what a proof asks, and nothing is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ticklake_sql::{Lake, Table, TableName, app_ids};

use super::GoldOptions;
use super::bar::{Bar, Computed, Content, Key, Series, Values, is_complete, is_whole};
use super::calendar::Calendar;
use super::files::Files;
use super::interval::{DAY_US, Interval};
use super::model::Model;
use super::output::Output;
use super::replace::Rules;
use super::windows::{Range, whole_dates};
use crate::Result;
use crate::error::Step;
use crate::scan::DataFile;
use crate::silver::rules::plain;
use crate::verify::{AsRead, Snapshot};

/// Digits after the point of a bar's decimals.
const PRICE_SCALE: u8 = 12;
const VOLUME_SCALE: u8 = 10;
const QUOTE_SCALE: u8 = 22;

/// A bar that is not what silver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarDifference {
    pub venue: String,
    pub symbol: String,
    /// Microseconds since the epoch, UTC.
    pub window_start_us: i64,
    pub kind: BarDifferenceKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BarDifferenceKind {
    /// Silver has trades for it, gold has no bar.
    Missing,
    /// Gold has a bar, silver no trade for it.
    Unexplained,
    /// Gold holds it more than once.
    Twice,
    /// Column, what gold says, what silver says.
    Wrong(Vec<(&'static str, String, String)>),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recount {
    /// Version of silver that gold has read, and the newest.
    pub silver_version: Option<u64>,
    pub silver_newest: u64,
    pub bars: u64,
    /// Sum of trade_count over the bars that gold holds.
    pub trade_count: i64,
    /// Sum of silver's count over the kind that bars are made of; `None` where cancels and corrections or withheld bars come in between.
    pub fills: Option<i64>,
    /// The rows of that version of silver cannot be told from later ones any more: nothing was counted.
    pub is_untold: bool,
}

/// Computes every bar of `options.interval` again. `unreadable`: paths of silver's and gold's files to pass over; they are named elsewhere.
pub async fn recount(
    lake: &Lake,
    options: &GoldOptions,
    unreadable: &HashSet<String>,
    mut differ: impl FnMut(BarDifference),
) -> Result<Recount> {
    let calendar = Calendar::new(Interval::parse(&options.interval)?, &options.sessions);
    let step = "open a table";
    let gold = lake.table(&TableName::gold_ohlcv(&options.interval)).await.step(step)?;
    let silver = lake.table(&TableName::silver_trades()).await.step(step)?;
    let output = Output::open(gold.clone(), silver.name()).await?;
    let silver_newest = silver
        .latest_version(output.position())
        .await
        .step("find the newest version of silver")?;
    let mut recount = Recount {
        silver_version: output.position(),
        silver_newest,
        ..Recount::default()
    };
    let Some(position) = output.position() else {
        return Ok(recount);
    };
    let newest = Snapshot::pinned(&silver, silver_newest).await?;
    let Some(read) = AsRead::of(&newest, position).await?.filter(|read| read.is_whole) else {
        recount.is_untold = true;
        return Ok(recount);
    };
    let gold_files = without(Files::load(&gold, output.version()).await?, unreadable);
    let silver_files = without(Files::of(read.adds, silver.spec()), unreadable);
    let model = Model::new(options, calendar.clone(), &silver).await?;
    let watermarks = match output.watermarks().await? {
        Some(watermarks) => watermarks,
        None => model.watermarks(&silver, &silver_files).await?,
    };
    let rules = Rules {
        options,
        calendar: &calendar,
        watermarks: &watermarks,
        now_us: 0,
    };
    let mut dates = whole_dates(silver_files.iter(), "ts", &calendar);
    dates.extend(whole_dates(gold_files.iter(), "window_start", &calendar));
    let mut walk = Walk {
        rules: &rules,
        last_seqs: HashMap::new(),
        open: HashMap::new(),
        differ: &mut differ,
    };
    // Trades between two sessions are in no bar.
    let mut is_plain = calendar.sessions().is_empty();
    let low_water = low_water(&silver).await?.max(low_water(&gold).await?);
    for range in &dates {
        let stored = model.stored(&gold, of_date(&gold_files, range)).await?;
        if low_water.is_some_and(|low_water| range.from < low_water) {
            walk.pass(stored);
            is_plain = false;
            continue;
        }
        let computed = model.bars(&silver, &silver_files, range).await?;
        is_plain &= computed.iter().all(|bar| bar.values.is_some());
        recount.bars += stored.len() as u64;
        let counts = stored.iter().map(|(_, bar)| bar.content.values.trade_count);
        recount.trade_count += counts.sum::<i64>();
        walk.compare(computed, stored);
    }
    walk.end();
    if is_plain && !silver_files.iter().any(|file| file.may_amend) {
        recount.fills = Some(model.fills(&silver, &silver_files).await?);
    }
    Ok(recount)
}

/// Start of the first date that retention has left whole, microseconds; `None` where it took nothing.
async fn low_water(table: &Table) -> Result<Option<i64>> {
    let (_, positions) = table.positions().await.step("read the positions of a table")?;
    let days = positions.get(&app_ids::low_water(table.name()));
    Ok(days.map(|days| days.saturating_mul(DAY_US)))
}

fn without(files: Files, unreadable: &HashSet<String>) -> Files {
    let mut files = files;
    files.retain(|file| !unreadable.contains(&file.add.path));
    files
}

fn of_date(files: &Files, range: &Range) -> Vec<Arc<DataFile>> {
    let overlaps = |file: &&Arc<DataFile>| {
        let (first, last) = file.micros("window_start");
        first < range.until && range.from <= last
    };
    files.iter().filter(overlaps).cloned().collect()
}

/// Bars in the order of time. The last one of each series is open until the next one tells whether they meet.
struct Walk<'a, D> {
    rules: &'a Rules<'a>,
    /// Of the bar before the open one.
    last_seqs: HashMap<Series, i64>,
    open: HashMap<Series, Open>,
    differ: &'a mut D,
}

/// A bar that silver has trades for, and what gold says of it.
struct Open {
    start: i64,
    values: Values,
    rows: i64,
    seq_before: Option<i64>,
    stored: Option<Bar>,
}

impl<D: FnMut(BarDifference)> Walk<'_, D> {
    /// Bars whose trades retention has taken, or of a date that it has taken from gold: they only go before the others.
    fn pass(&mut self, mut stored: Vec<(Key, Bar)>) {
        stored.sort_by(|(a, _), (b, _)| a.cmp(b));
        let last = |(key, bar): (Key, Bar)| (key.series, bar.content.values.last_seq);
        self.last_seqs.extend(stored.into_iter().map(last));
    }

    /// The bars of a date.
    fn compare(&mut self, mut computed: Vec<Computed>, stored: Vec<(Key, Bar)>) {
        let mut by_key: HashMap<Key, Bar> = HashMap::with_capacity(stored.len());
        for (key, bar) in stored {
            if by_key.insert(key.clone(), bar).is_some() {
                self.name(&key.series, key.start, BarDifferenceKind::Twice);
            }
        }
        computed.sort_by(|a, b| a.key.cmp(&b.key));
        for Computed { key, values, rows, .. } in computed {
            // What does not fit its columns is withheld.
            let Some(values) = values else { continue };
            let seq_before = match self.open.remove(&key.series) {
                Some(before) => {
                    let last_seq = before.values.last_seq;
                    self.settle(&key.series, before, Some(values.first_seq));
                    Some(last_seq)
                }
                None => self.last_seqs.get(&key.series).copied(),
            };
            let stored = by_key.remove(&key);
            let start = key.start;
            let open = Open {
                start,
                values,
                rows,
                seq_before,
                stored,
            };
            self.open.insert(key.series, open);
        }
        let mut unexplained: Vec<Key> = by_key.into_keys().collect();
        unexplained.sort();
        for key in unexplained {
            self.name(&key.series, key.start, BarDifferenceKind::Unexplained);
        }
    }

    fn end(mut self) {
        let mut open: Vec<(Series, Open)> = self.open.drain().collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (series, bar) in open {
            self.settle(&series, bar, None);
        }
    }

    /// Holds what gold says against what a refresh would store.
    fn settle(&mut self, series: &Series, bar: Open, seq_after: Option<i64>) {
        let is_complete = self
            .rules
            .is_contiguous(series)
            .then(|| is_complete(is_whole(&bar.values, bar.rows), &bar.values, bar.seq_before, seq_after));
        let content = Content {
            is_closed: self.rules.is_closed(&series.venue, bar.start),
            is_complete: is_complete.flatten(),
            values: bar.values,
        };
        match bar.stored {
            None => self.name(series, bar.start, BarDifferenceKind::Missing),
            Some(stored) if stored.content == content => {}
            Some(stored) => {
                let wrong = BarDifferenceKind::Wrong(columns(&stored.content, &content));
                self.name(series, bar.start, wrong);
            }
        }
    }

    fn name(&mut self, series: &Series, start: i64, kind: BarDifferenceKind) {
        (self.differ)(BarDifference {
            venue: series.venue.to_string(),
            symbol: series.symbol.to_string(),
            window_start_us: start,
            kind,
        });
    }
}

/// The columns in which two bars differ.
fn columns(stored: &Content, computed: &Content) -> Vec<(&'static str, String, String)> {
    texts(stored)
        .into_iter()
        .zip(texts(computed))
        .filter(|((_, stored), (_, computed))| stored != computed)
        .map(|((column, stored), (_, computed))| (column, stored, computed))
        .collect()
}

fn texts(content: &Content) -> Vec<(&'static str, String)> {
    let Content {
        values,
        is_closed,
        is_complete,
    } = content;
    let Values {
        prices,
        volume,
        quote_volume,
        vwap,
        avg_price,
        trade_count,
        taker_buy_volume,
        taker_buy_quote_volume,
        first_seq,
        last_seq,
        first_ts,
        last_ts,
    } = values;
    let ratio = |value: &Option<i128>| value.map_or("NULL".to_owned(), |value| plain(value, PRICE_SCALE));
    vec![
        ("open", ratio(&prices.map(|prices| prices.open))),
        ("high", ratio(&prices.map(|prices| prices.high))),
        ("low", ratio(&prices.map(|prices| prices.low))),
        ("close", ratio(&prices.map(|prices| prices.close))),
        ("volume", plain(*volume, VOLUME_SCALE)),
        ("quote_volume", plain(*quote_volume, QUOTE_SCALE)),
        ("vwap", ratio(vwap)),
        ("avg_price", ratio(avg_price)),
        ("trade_count", trade_count.to_string()),
        ("taker_buy_volume", plain(*taker_buy_volume, VOLUME_SCALE)),
        ("taker_buy_quote_volume", plain(*taker_buy_quote_volume, QUOTE_SCALE)),
        ("first_seq", first_seq.to_string()),
        ("last_seq", last_seq.to_string()),
        ("first_ts", first_ts.to_string()),
        ("last_ts", last_ts.to_string()),
        ("is_closed", is_closed.to_string()),
        (
            "is_complete",
            is_complete.map_or("NULL".to_owned(), |complete| complete.to_string()),
        ),
    ]
}

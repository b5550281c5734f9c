//! Gold's refresh: the news of silver, the windows they touch, their bars, one commit.
//!
//! Everything follows from silver's files at one version and gold's position in its log, so that a step that is lost, repeated or
//! raced by another gives the same bars.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Map, json};
use ticklake_sql::{Lake, Table, TableName, log};

use super::GoldOptions;
use super::bar::{Computed, Key};
use super::calendar::Calendar;
use super::files::Files;
use super::hours::Hours;
use super::input::Input;
use super::interval::Interval;
use super::model::Model;
use super::output::{Landed, Output};
use super::parts::Parts;
use super::replace::{Replaced, Rules, close_passed, replace};
use super::revisions::{KeepRevisions, Revisions};
use super::windows::{Range, Touched, forced, ranges, whole_dates};
use super::write::Written;
use crate::error::Step;
use crate::rebuild::RebuildRange;
use crate::rebuild::side::REBUILD;
use crate::watermarks::{self, Watermarks};
use crate::{Error, RefreshReport, Result};

/// Hours of bars in memory at most, about, while a refresh goes over many.
const LOADED_HOURS: usize = 48;
/// How often another refresh is looked after.
const POLL: Duration = Duration::from_millis(50);
/// Withheld bars named in a commit.
const NAMED_BARS: usize = 20;

pub struct Gold {
    pub(super) lake: Lake,
    options: GoldOptions,
    interval: Interval,
    pub(super) calendar: Calendar,
    model: Model,
    pub(super) input: Input,
    pub(super) hours: Hours,
    pub(super) output: Output,
    /// The version of gold that `hours` stands at.
    pub(super) held_version: u64,
    /// Silver's version up to which everything is in gold, the position perhaps not committed yet.
    read_to: Option<u64>,
    /// What the bars' `is_closed` goes by; `None`: not known.
    watermarks: Option<Watermarks>,
    /// Of the newest windows, where they are wider than a minute.
    parts: Option<Parts>,
    /// Computed again in any case, whatever the news.
    pub(super) forced: BTreeSet<Range>,
    /// The result beside gold that the next commit swaps in.
    pub(super) swaps: Option<String>,
    revisions: Option<Revisions>,
    /// The newest commit of earlier states, where nobody but this refresh can bring gold's commit that belongs to it.
    turn: Option<i64>,
}

impl Gold {
    /// Creates the tables where they do not exist yet, so that jobs may start in any order.
    pub async fn open(lake: Lake, options: GoldOptions) -> Result<Self> {
        let interval = Interval::parse(&options.interval)?;
        let calendar = Calendar::new(interval, &options.sessions);
        let silver = lake
            .create_table(&TableName::silver_trades())
            .await
            .step("open or create a table")?;
        let gold = lake
            .create_table(&TableName::gold_ohlcv(&options.interval))
            .await
            .step("open or create a table")?;
        let output = Output::open(gold.clone(), silver.name()).await?;
        let held_version = output.version();
        let hours = Hours::new(
            gold.clone(),
            calendar.clone(),
            options.zstd_level,
            Files::load(&gold, held_version).await?,
        );
        let input = Input::open(silver, output.position()).await?;
        let watermarks = output.watermarks().await?;
        let revisions = match options.revisions {
            KeepRevisions::None => None,
            _ => Some(Revisions::open(&lake, &options.interval, calendar.clone(), options.zstd_level).await?),
        };
        Ok(Self {
            parts: Parts::of(interval).filter(|_| calendar.sessions().is_empty()),
            forced: BTreeSet::new(),
            swaps: None,
            revisions,
            turn: None,
            model: Model::new(&options, calendar.clone(), input.table()).await?,
            read_to: output.position(),
            lake,
            options,
            interval,
            calendar,
            input,
            hours,
            output,
            held_version,
            watermarks,
        })
    }

    /// Silver: what a refresh reads.
    pub fn input(&self) -> &Table {
        self.input.table()
    }

    /// Silver version up to which this refresh has read.
    pub fn read_to(&self) -> Option<u64> {
        self.read_to
    }

    /// Brings gold up to silver's newest version.
    pub async fn refresh(&mut self) -> Result<RefreshReport> {
        let started = Instant::now();
        let mut report = RefreshReport::new(self.output.table().name().clone());
        for _ in 0..self.options.attempts.max(1) {
            self.follow().await?;
            report.input_from = self.read_to;
            let attempt = self.attempt(&mut report).await;
            if !matches!(attempt, Ok(Landed::At(_))) {
                self.hours.reset();
            }
            if let Landed::At(_) = attempt? {
                report.input_to = self.read_to;
                report.elapsed = started.elapsed();
                if report.commits > 0 {
                    report.log();
                }
                return Ok(report);
            }
        }
        Err(Error::Contended {
            table: report.table,
            attempts: self.options.attempts,
        })
    }

    /// Brings gold up to silver's newest version, and every bar of the range to what silver says.
    pub async fn rebuild(&mut self, range: &RebuildRange) -> Result<RefreshReport> {
        self.follow().await?;
        self.forced = forced(range, &self.calendar, &self.dates());
        let report = self.refresh().await;
        self.forced.clear();
        report
    }

    /// Takes in what was committed to gold and to silver since the last call.
    pub(super) async fn follow(&mut self) -> Result<()> {
        self.output.follow().await?;
        while self.held_version < self.output.version() {
            match log::read(self.output.table(), self.held_version + 1).await {
                Ok(Some(entry)) => {
                    self.hours.apply(&entry.adds, &entry.removes);
                    self.held_version = entry.version;
                    if let Some(watermarks) = watermarks::of(&entry) {
                        self.watermarks = Some(watermarks);
                    }
                }
                Ok(None) => return self.reopen().await,
                Err(error) if error.kind() == ticklake_sql::ErrorKind::Data => return self.reopen().await,
                Err(source) => return Err(Error::sql("follow the log of gold", source)),
            }
        }
        self.input.follow().await?;
        if let Some(position) = self
            .output
            .position()
            .filter(|position| self.read_to.is_none_or(|read_to| *position > read_to))
        {
            self.input.forget(position);
            self.read_to = Some(position);
            // What those news touched was never computed here.
            self.parts.iter_mut().for_each(Parts::clear);
        }
        Ok(())
    }

    async fn reopen(&mut self) -> Result<()> {
        let (forced, swaps) = (std::mem::take(&mut self.forced), self.swaps.take());
        *self = Self::open(self.lake.clone(), self.options.clone()).await?;
        (self.forced, self.swaps) = (forced, swaps);
        Ok(())
    }

    async fn attempt(&mut self, report: &mut RefreshReport) -> Result<Landed> {
        match self.plan().await? {
            Some(plan) => self.land(plan, report).await,
            None => Ok(Landed::At(self.held_version)),
        }
    }

    /// Computes and writes what a commit will hold; `None` where none is due.
    pub(super) async fn plan(&mut self) -> Result<Option<Plan>> {
        let to = self.input.version();
        if self.read_to == Some(to) && self.output.position() == Some(to) && self.forced.is_empty() {
            return Ok(None);
        }
        let planned_at = self.held_version;
        let watermarks = match self.input.watermarks() {
            Some(watermarks) => watermarks.clone(),
            None => self.model.watermarks(self.input.table(), self.input.files()).await?,
        };
        let replaced = self.replace_touched(&watermarks).await?;
        let written = self.hours.finish().await?;
        let is_due = written.adds.len() + written.removes.len() > 0 || self.position_is_due(to).await?;
        if !is_due {
            self.taken_in(to, watermarks);
            return Ok(None);
        }
        Ok(Some(Plan {
            planned_at,
            to,
            watermarks,
            replaced,
            written,
        }))
    }

    pub(super) async fn land(&mut self, plan: Plan, report: &mut RefreshReport) -> Result<Landed> {
        let Plan {
            planned_at,
            to,
            watermarks,
            replaced,
            written,
        } = plan;
        let (added, removed) = (written.adds.len() as u64, written.removes.len() as u64);
        if self.record_superseded(to, replaced.now_us).await? == Landed::Lost {
            return Ok(Landed::Lost);
        }
        let landed = self
            .output
            .commit(planned_at, to, written, self.info(to, &watermarks, &replaced))
            .await?;
        if let Landed::At(version) = landed {
            self.taken_in(to, watermarks);
            self.turn = None;
            self.follow().await?;
            self.hours.settle();
            report.version = Some(version);
            report.commits += 1;
            report.files_added += added;
            report.files_removed += removed;
            report.rows_in += replaced.computed;
            report.rows_out += replaced.bars.changed;
            report.superseded += replaced.bars.superseded;
            report.quarantined += replaced.bars.withheld.len() as u64;
            for key in &replaced.bars.withheld {
                let (venue, symbol) = (&*key.series.venue, &*key.series.symbol);
                tracing::warn!(table = %report.table, venue, symbol, window_start_us = key.start, "a bar is withheld: a sum does not fit its column");
            }
        }
        Ok(landed)
    }

    /// Commits the states that the commit of `to` will supersede, in the place of any that another refresh recorded and never came to supersede.
    async fn record_superseded(&mut self, to: u64, now_us: i64) -> Result<Landed> {
        let Some(revisions) = &mut self.revisions else {
            return Ok(Landed::At(self.held_version));
        };
        revisions.follow().await?;
        let gold = self.output.position();
        let is_ahead = revisions.position() > gold;
        if is_ahead && revisions.turn() != self.turn {
            return self.take_over().await;
        }
        if revisions.position() > Some(to) {
            return Ok(Landed::Lost);
        }
        let states = self.hours.superseded(self.options.revisions);
        if is_ahead || !states.is_empty() {
            if !revisions.commit(&states, now_us, gold, to).await? {
                return Ok(Landed::Lost);
            }
            self.turn = revisions.turn();
        }
        Ok(Landed::At(self.held_version))
    }

    /// Gives the other refresh time to come to its commit; then makes that impossible, so that what it recorded can be replaced.
    async fn take_over(&mut self) -> Result<Landed> {
        let (ahead, turn) = match &self.revisions {
            Some(revisions) => (revisions.position(), revisions.turn()),
            None => return Ok(Landed::Lost),
        };
        let deadline = tokio::time::Instant::now() + self.options.take_over_after;
        while self.output.position() < ahead && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            self.output.follow().await?;
        }
        if self.output.position() < ahead && matches!(self.output.fence().await?, Landed::At(_)) {
            tracing::warn!(table = %self.output.table().name(), "another refresh recorded what it supersedes and went no further: taken over");
            self.turn = turn;
        }
        Ok(Landed::Lost)
    }

    fn taken_in(&mut self, to: u64, watermarks: Watermarks) {
        self.input.forget(to);
        self.read_to = Some(to);
        self.watermarks = Some(watermarks);
    }

    /// Recomputes what the news touch, in the order of time, and what follows another bar because of that.
    async fn replace_touched(&mut self, watermarks: &Watermarks) -> Result<Recomputed> {
        let now_us = self.lake.clock().now_us();
        let rules = Rules {
            options: &self.options,
            calendar: &self.calendar,
            watermarks,
            now_us,
        };
        let mut recomputed = Recomputed {
            bars: close_passed(&mut self.hours, &self.model, &rules, self.watermarks.as_ref()).await?,
            computed: 0,
            now_us,
        };
        let whole_from = self.input.whole_from();
        let touched = self.touched().await?;
        let mut waiting = match &touched {
            Some(touched) => touched.ranges(&self.calendar),
            None => self.dates(),
        };
        waiting.extend(self.forced.iter().cloned());
        while let Some(range) = waiting.pop_first() {
            // A range lies inside one date.
            if whole_from.is_some_and(|whole_from| range.from < whole_from) {
                continue;
            }
            if self.hours.loaded_hours() > LOADED_HOURS {
                self.hours.write_before(self.interval.hour_of(range.from)).await?;
            }
            let (computed, rows) = self.compute(&range, touched.as_ref()).await?;
            recomputed.computed += rows;
            let rules = Rules {
                options: &self.options,
                calendar: &self.calendar,
                watermarks,
                now_us,
            };
            let replaced = replace(&mut self.hours, &self.model, &rules, &range, computed).await?;
            let covered = |key: &Key| waiting.iter().any(|range| range.holds(key));
            let follow: BTreeSet<Key> = replaced.follow.iter().filter(|key| !covered(key)).cloned().collect();
            waiting.extend(ranges(&follow, self.interval));
            recomputed.bars.changed += replaced.changed;
            recomputed.bars.superseded += replaced.superseded;
            recomputed.bars.withheld.extend(replaced.withheld);
        }
        Ok(recomputed)
    }

    /// Every date of silver and of gold.
    pub(super) fn dates(&self) -> BTreeSet<Range> {
        let mut dates = whole_dates(self.input.files().iter(), "ts", &self.calendar);
        dates.extend(whole_dates(self.hours.files().iter(), "window_start", &self.calendar));
        dates
    }

    /// Bars of the range, of their parts where those are at hand, else of their trades; and how many trades were read for them.
    async fn compute(&mut self, range: &Range, touched: Option<&Touched>) -> Result<(Vec<Computed>, u64)> {
        let (model, silver, files) = (&self.model, self.input.table(), self.input.files());
        let Some((parts, part)) = self.parts.as_mut().zip(self.interval.part()) else {
            let bars = model.bars(silver, files, range).await?;
            let rows = rows_of(&bars);
            return Ok((bars, rows));
        };
        let news = touched
            .filter(|_| parts.holds(range))
            .and_then(|touched| touched.parts_of(range, &self.calendar, part));
        if let Some(news) = news {
            let mut rows = 0;
            for news in news {
                let computed = model.parts(silver, files, &news).await?;
                rows += rows_of(&computed);
                parts.replace(&news, computed);
            }
            return Ok((parts.bars(range), rows));
        }
        if !parts.wants(range) {
            parts.forget(range);
            let bars = model.bars(silver, files, range).await?;
            let rows = rows_of(&bars);
            return Ok((bars, rows));
        }
        let whole = Range {
            symbols: None,
            ..range.clone()
        };
        let computed = model.parts(silver, files, &whole).await?;
        let rows = rows_of(&computed);
        parts.keep(&whole, computed);
        let bars = parts.bars(range);
        parts.bound();
        Ok((bars, rows))
    }

    /// `None`: everything.
    async fn touched(&self) -> Result<Option<Touched>> {
        let news = self.input.news();
        if news.everything {
            return Ok(None);
        }
        let changed: Vec<_> = news.added.into_iter().chain(news.removed).collect();
        let touched = self
            .model
            .touched(self.input.table(), &changed, self.input.files())
            .await?;
        Ok(Some(touched))
    }

    async fn position_is_due(&self, to: u64) -> Result<bool> {
        match self.output.position() {
            Some(position) if position >= to => Ok(false),
            Some(_) => {
                self.output
                    .idle_for(self.options.position_interval, self.lake.clock().now_us() / 1000)
                    .await
            }
            None => Ok(true),
        }
    }

    fn info(&self, to: u64, watermarks: &Watermarks, recomputed: &Recomputed) -> Map<String, serde_json::Value> {
        let withheld: Vec<_> = recomputed
            .bars
            .withheld
            .iter()
            .take(NAMED_BARS)
            .map(|key| json!([&*key.series.venue, &*key.series.symbol, key.start]))
            .collect();
        let mut info = Map::new();
        info.insert("inputAfter".into(), json!(self.output.position()));
        info.insert("inputTo".into(), json!(to));
        info.insert(watermarks::KEY.into(), json!(watermarks));
        info.insert("rowsRead".into(), json!(recomputed.computed));
        info.insert("barsChanged".into(), json!(recomputed.bars.changed));
        if !withheld.is_empty() {
            info.insert("barsWithheld".into(), json!(withheld));
        }
        info.extend(self.swaps.as_ref().map(|id| (REBUILD.to_owned(), json!(id))));
        info
    }
}

fn rows_of(bars: &[Computed]) -> u64 {
    bars.iter().map(|bar| u64::try_from(bar.rows).unwrap_or(0)).sum()
}

/// A commit to be: its files are written.
pub(super) struct Plan {
    /// The version of gold that it stands on.
    pub planned_at: u64,
    /// The version of silver that it brings gold up to.
    pub to: u64,
    watermarks: Watermarks,
    replaced: Recomputed,
    pub written: Written,
}

/// Outcome of one plan.
struct Recomputed {
    bars: Replaced,
    /// Trades that the bars were computed from.
    computed: u64,
    /// When: `computed_at` of every bar that changed.
    now_us: i64,
}

//! `gold.ohlcv_revisions`: what bars said before this refresh changed them. A side table: it commits before gold, with a position of its own an
//! interval, so that no earlier state is ever lost.
//!
//! Standing ahead of gold, it holds what a refresh wrote whose commit to gold never came. Whoever takes over makes that commit impossible
//! first (an empty commit to gold, which excludes it) and then replaces those rows.

use std::collections::BTreeMap;

use deltalake::kernel::{Add, Remove};
use serde_json::{Map, json};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{ErrorKind, Lake, Table, TableName, app_ids};

use super::bar::{Bar, Key};
use super::calendar::Calendar;
use super::columns::encode_superseded;
use super::hours::Original;
use super::interval::date_text;
use crate::error::Step;
use crate::maintenance::entries::entry;
use crate::{Error, Result};

/// Other intervals and jobs write to the same table: lost races before a refresh gives up.
const ATTEMPTS: usize = 20;
/// Entries read backwards in search of a commit of this interval.
const RECORD_ENTRIES: u64 = 1_000;

/// Which earlier states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepRevisions {
    /// Of closed bars, where a number changed or the bar went: what somebody may have taken for final.
    #[default]
    Closed,
    /// Every state that ever stood in gold, those of open bars too: one a refresh and traded symbol.
    All,
    None,
}

impl KeepRevisions {
    pub fn wants(self, original: &Original) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Closed => original.bar.content.is_closed && original.is_corrected,
        }
    }
}

pub struct Revisions {
    table: Table,
    committer: Committer,
    calendar: Calendar,
    interval_name: String,
    input_app: String,
    /// Counts the commits of this interval, so that each refresh knows its own.
    turn_app: String,
    writer_app: String,
    zstd_level: i32,
}

impl Revisions {
    pub async fn open(lake: &Lake, interval_name: &str, calendar: Calendar, zstd_level: i32) -> Result<Self> {
        let table = lake
            .create_table(&TableName::gold_ohlcv_revisions())
            .await
            .step("open or create a table")?;
        Ok(Self {
            committer: Committer::open(&table).await.step("read the positions of a table")?,
            input_app: format!(
                "{}/{interval_name}",
                app_ids::input(table.name(), &TableName::silver_trades())
            ),
            turn_app: format!("ticklake/{}/turn/{interval_name}", table.name()),
            writer_app: app_ids::writer(table.name()),
            table,
            calendar,
            interval_name: interval_name.to_owned(),
            zstd_level,
        })
    }

    /// Takes in new commits.
    pub async fn follow(&mut self) -> Result<()> {
        self.committer.refresh().await.step("read new positions of a table")
    }

    /// Silver's version up to which the changes of bars are recorded, those that never landed included.
    pub fn position(&self) -> Option<u64> {
        let position = self.committer.positions().get(&self.input_app)?;
        u64::try_from(*position).ok()
    }

    /// Which commit of this interval is the newest.
    pub fn turn(&self) -> Option<i64> {
        self.committer.positions().get(&self.turn_app).copied()
    }

    /// Records `states`, which gold's commit of silver's version `to` supersedes at `now_us`, in the place of what stands above `gold`'s position.
    /// False where another refresh of the interval was first.
    pub async fn commit(
        &mut self,
        states: &BTreeMap<Key, Bar>,
        now_us: i64,
        gold: Option<u64>,
        to: u64,
    ) -> Result<bool> {
        let adds = self.write(states, now_us).await?;
        let turn = self.turn();
        for _ in 0..ATTEMPTS {
            let removes = if self.position() > gold {
                self.never_landed().await?
            } else {
                Vec::new()
            };
            let commit = self.plan(adds.clone(), removes, states.len(), to)?;
            match self.committer.commit(commit).await {
                Ok(Outcome::Committed { .. }) => return Ok(true),
                Ok(Outcome::Conflict { .. }) => self.follow().await?,
                Err(error) if error.kind() == ErrorKind::Retry => {
                    // The outcome is unknown: our files in the table tell.
                    self.follow().await?;
                    if self.holds(&adds).await? {
                        return Ok(true);
                    }
                }
                Err(error) => return Err(Error::sql("commit the earlier states of bars", error)),
            }
            if self.turn() != turn {
                return Ok(false);
            }
        }
        Err(Error::Contended {
            table: self.table.name().clone(),
            attempts: u32::try_from(ATTEMPTS).unwrap_or(u32::MAX),
        })
    }

    fn plan(&self, adds: Vec<Add>, removes: Vec<Remove>, states: usize, to: u64) -> Result<Commit> {
        let to = i64::try_from(to).map_err(|_| Error::Internal("a version of silver beyond i64".into()))?;
        let writer = self.committer.positions().get(&self.writer_app).copied().unwrap_or(0);
        let txn = |app_id: &String, version| Txn {
            app_id: app_id.clone(),
            version,
        };
        Ok(Commit {
            operation: "REFRESH".into(),
            info: Map::from_iter([
                ("interval".to_owned(), json!(self.interval_name)),
                ("states".to_owned(), json!(states)),
            ]),
            txns: vec![
                txn(&self.input_app, to),
                txn(&self.turn_app, self.turn().unwrap_or(0) + 1),
                txn(&self.writer_app, writer + 1),
            ],
            adds,
            removes,
            read_version: Some(self.committer.version()),
            ..Commit::default()
        })
    }

    /// The files of this interval's newest commit, as far as they are still there.
    async fn never_landed(&self) -> Result<Vec<Remove>> {
        let now = self.table.lake().clock().now();
        let turn = self.turn();
        let mut gone: Vec<String> = Vec::new();
        let newest = self.committer.version();
        for version in (newest.saturating_sub(RECORD_ENTRIES)..=newest).rev() {
            let Some(entry) = entry(&self.table, version).await? else {
                break;
            };
            let is_ours = |txn: &Txn| txn.app_id == self.turn_app && Some(txn.version) == turn;
            if entry.txns.iter().any(is_ours) {
                let active = entry.adds.iter().filter(|add| !gone.contains(&add.path));
                return Ok(active.map(|add| removal(add, now, true)).collect());
            }
            gone.extend(entry.removes.into_iter().map(|remove| remove.path));
        }
        Ok(Vec::new())
    }

    /// The newest commits hold `adds`.
    async fn holds(&self, adds: &[Add]) -> Result<bool> {
        let newest = self.committer.version();
        for version in (newest.saturating_sub(ATTEMPTS as u64)..=newest).rev() {
            let Some(entry) = entry(&self.table, version).await? else {
                break;
            };
            if adds
                .iter()
                .all(|add| entry.adds.iter().any(|other| other.path == add.path))
                && !adds.is_empty()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One file a date.
    async fn write(&self, states: &BTreeMap<Key, Bar>, now_us: i64) -> Result<Vec<Add>> {
        let mut dates: BTreeMap<String, Vec<(&Key, &Bar)>> = BTreeMap::new();
        for (key, bar) in states {
            dates.entry(date_text(key.start)).or_default().push((key, bar));
        }
        let mut adds = Vec::with_capacity(dates.len());
        for (date, mut states) in dates {
            states.sort_by(|(a, _), (b, _)| {
                (&a.series.symbol, a.start, &a.series.venue).cmp(&(&b.series.symbol, b.start, &b.series.venue))
            });
            let schema = self.table.spec().file_schema();
            let rows = encode_superseded(&states, &self.calendar, &schema, &self.interval_name, now_us)?;
            let options = FileOptions {
                zstd_level: self.zstd_level,
                ..FileOptions::default()
            };
            let partition = BTreeMap::from([("date".to_owned(), date)]);
            let add = data_file::write(&self.table, partition, vec![rows], options).await;
            adds.push(add.step("write the earlier states of bars")?);
        }
        Ok(adds)
    }
}

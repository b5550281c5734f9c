//! Silver's part of the proof: which version of bronze it has read, and whether every row of that is accounted for.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use deltalake::kernel::Add;
use ticklake_sql::{Table, TableName, app_ids};

use super::as_read::{AsRead, untold};
use super::bronze::{self, Held, SharedOrigins, lock};
use super::files::Shared;
use super::origins::Origins;
use super::report::LayerCount;
use super::run::{HeldBronze, Proof};
use super::silver::{self, Kept};
use super::snapshot::Snapshot;
use crate::Result;
use crate::silver::dropped_total;

impl Proof<'_> {
    pub(super) async fn silver(
        &mut self,
        bronze: &Snapshot,
        silver: Snapshot,
        quarantine: Option<Snapshot>,
        held: Option<HeldBronze>,
    ) -> Result<()> {
        let input = bronze.table.name();
        let position = silver.position(input);
        let quarantine = match quarantine {
            Some(newest) => match not_beyond(newest, input, position).await? {
                Some(quarantine) => Some(quarantine),
                None => {
                    self.note("silver.quarantine cannot be read as it was where silver stands; refresh silver, then verify again".into());
                    return Ok(());
                }
            },
            None => None,
        };
        let silver_files = self.present(&silver).await?;
        let quarantine_files = match &quarantine {
            Some(quarantine) => self.present(quarantine).await?,
            None => Vec::new(),
        };
        let Some(position) = position else {
            self.note("silver has not been refreshed yet".into());
            return Ok(());
        };
        let Some(read) = AsRead::of(bronze, position).await? else {
            self.note(untold(input, position, "silver"));
            return Ok(());
        };
        let recorded = dropped_total(silver.table.name(), &silver.positions);
        let mut layers = LayerCount {
            bronze: read.rows(),
            silver: silver.rows(),
            quarantine: quarantine.as_ref().map_or(0, Snapshot::rows),
            repeats: recorded.unwrap_or(0),
            recorded_repeats: recorded,
            behind: bronze.version.saturating_sub(position),
        };
        let held = match held {
            Some(held) => Some(self.as_read(bronze, &read, Some(held)).await?),
            None if bronze.positions.contains_key(&app_ids::low_water(input)) => {
                self.note("retention has taken rows from bronze: only a full proof can hold silver against it".into());
                None
            }
            None if recorded.is_none() => {
                self.note("silver has not counted its repeats from its first refresh on: only a full proof can".into());
                None
            }
            None if layers.adds_up() => None,
            // What does not add up is read.
            None => Some(self.as_read(bronze, &read, None).await?),
        };
        if let Some(held) = held {
            let Some(held) = held else {
                self.note(untold(input, position, "silver"));
                return Ok(());
            };
            let quarantine = quarantine.map(|quarantine| (quarantine, quarantine_files));
            self.row_by_row(bronze, held, (silver, silver_files), quarantine, &mut layers)
                .await?;
        }
        lock(&self.report).layers = Some(layers);
        Ok(())
    }

    /// Every row of bronze in silver, in quarantine, or equal to one that is.
    async fn row_by_row(
        &mut self,
        bronze: &Snapshot,
        held: HeldBronze,
        (silver, silver_files): (Snapshot, Vec<Add>),
        quarantine: Option<(Snapshot, Vec<Add>)>,
        layers: &mut LayerCount,
    ) -> Result<()> {
        let origins = held.origins.clone();
        let none = Held::default();
        let (mut kept, silver_files) = self
            .gather(&silver, silver_files, &origins, none, "silver_twice")
            .await?;
        let mut quarantine_read = None;
        if let Some((quarantine, files)) = &quarantine {
            let (all, read) = self
                .gather(quarantine, files.clone(), &origins, kept, "silver_twice")
                .await?;
            kept = all;
            quarantine_read = Some((&quarantine.table, read));
        }
        silver::unknown(&silver.table, &kept, &held.trades, &origins, &self.report);
        let absent = silver::absent(&held.trades, &kept);
        drop(kept);
        layers.bronze = held.trades.len();
        let kept = Kept {
            silver: (&silver.table, silver_files),
            quarantine: quarantine_read,
        };
        let (table, options) = (&bronze.table, self.options);
        layers.repeats = silver::repeats(table, held.files, absent, &kept, &origins, options, &self.report).await?;
        let (recorded, counted) = (layers.recorded_repeats, layers.repeats);
        if let Some(recorded) = recorded.filter(|recorded| *recorded != counted) {
            self.note(format!(
                "silver's commits speak of {recorded} repeats, {counted} were counted"
            ));
        }
        Ok(())
    }

    /// Bronze as silver has read it; `None` where files of that have gone in a way that does not tell. `held`: the newest version, where it
    /// has been read.
    async fn as_read(&self, newest: &Snapshot, read: &AsRead, held: Option<HeldBronze>) -> Result<Option<HeldBronze>> {
        let origins = match &held {
            Some(held) => held.origins.clone(),
            None => Arc::new(Mutex::new(Origins::of(newest))),
        };
        let table = &newest.table;
        if read.is_whole {
            return match held.filter(|_| read.is(newest)) {
                Some(held) => Ok(Some(held)),
                None => self.rows_of(table, &read.adds, origins).await.map(Some),
            };
        }
        if !read.is_newest_without_since {
            return Ok(None);
        }
        // Merged with rows that silver has still to read: the files that brought those tell them apart.
        let since = self.rows_of(table, &read.since, origins.clone()).await?;
        let mut held = match held {
            Some(held) => held,
            None => self.rows_of(table, &newest.adds, origins).await?,
        };
        held.trades = silver::absent(&held.trades, &since.trades);
        let later: HashSet<&str> = read.since.iter().map(|add| add.path.as_str()).collect();
        held.files.retain(|add| !later.contains(add.path.as_str()));
        Ok(Some(held))
    }

    /// The rows of some files of bronze. What is wrong with its files is named by whoever reads the newest version.
    async fn rows_of(&self, table: &Table, adds: &[Add], origins: SharedOrigins) -> Result<HeldBronze> {
        let is_readable = |add: &&Add| !self.unreadable.contains(&add.path);
        let readable = adds.iter().filter(is_readable).cloned().collect();
        let (at_once, quiet) = (self.options.files_at_once, Shared::default());
        let none = Held::default();
        let (trades, files) = bronze::gather(table, readable, at_once, &origins, none, "record_twice", &quiet).await?;
        Ok(HeldBronze { origins, trades, files })
    }
}

/// The quarantine where silver stands: it may be ahead. `None` where files of it have gone since.
async fn not_beyond(newest: Snapshot, input: &TableName, position: Option<u64>) -> Result<Option<Snapshot>> {
    let stood = newest.clone().not_beyond(input, position).await?;
    if stood.version == newest.version {
        return Ok(Some(stood));
    }
    let read = AsRead::of(&newest, stood.version).await?;
    Ok(read.filter(|read| read.is_whole).map(|read| Snapshot {
        adds: read.adds,
        ..stood
    }))
}

impl LayerCount {
    /// As many rows as the commits say.
    fn adds_up(&self) -> bool {
        self.silver + self.quarantine + self.repeats == self.bronze
    }
}

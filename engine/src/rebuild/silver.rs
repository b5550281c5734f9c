//! Silver and its quarantine from bronze: the rows of the range are taken out, those of bronze are judged and settled again against all that stays.

use std::sync::Arc;
use std::time::Instant;

use ticklake_sql::{Lake, Table, TableName, failpoint};

use super::beside::{Beside, Swap, lay};
use super::diff::diff;
use super::low_water::{ARRIVAL_DAYS, check};
use super::range::RebuildRange;
use super::side::Side;
use super::staged::{Layout, Staged};
use crate::error::Step;
use crate::gold::Files;
use crate::scan::DataFile;
use crate::silver::chunk::Chunk;
use crate::silver::output::{Landed, Output};
use crate::silver::plan::plan;
use crate::silver::read::FileRef;
use crate::silver::{Silver, SilverOptions};
use crate::{Error, RefreshReport, Result};

/// Ranges that others write to are read again this often at most.
const ATTEMPTS: u32 = 5;

/// Brings silver up to date, then replaces the range. `force`: also where retention has taken input away.
pub async fn rebuild(lake: &Lake, options: &SilverOptions, range: &RebuildRange, force: bool) -> Result<RefreshReport> {
    let started = Instant::now();
    let mut silver = open(lake, options, range, force).await?;
    for _ in 0..ATTEMPTS {
        silver.refresh().await?;
        let Some(position) = silver.position() else {
            return Ok(RefreshReport::new(TableName::silver_trades()));
        };
        let mut rebuild = Rebuild::open(lake, options, range, silver.input(), position).await?;
        let mut report = rebuild.stage().await?;
        if rebuild.commit(&mut report, None).await? {
            report.elapsed = started.elapsed();
            report.log();
            return Ok(report);
        }
    }
    Err(Error::Contended {
        table: TableName::silver_trades(),
        attempts: ATTEMPTS,
    })
}

/// Brings silver up to date, rebuilds the range into a table beside it, and swaps that in unless the range has changed since.
pub async fn rebuild_beside(
    lake: &Lake,
    options: &SilverOptions,
    range: &RebuildRange,
    force: bool,
    id: &str,
    swap: Swap,
) -> Result<Beside> {
    let started = Instant::now();
    let name = TableName::silver_trades();
    let mut silver = open(lake, options, range, force).await?;
    silver.refresh().await?;
    let Some(position) = silver.position() else {
        return Ok(Beside::nothing(name));
    };
    let mut rebuild = Rebuild::open(lake, options, range, silver.input(), position).await?;
    let table = rebuild.silver.output.table().clone();
    let before = rebuild.before().await?;
    let mut report = rebuild.stage().await?;
    let made_from = rebuild.silver.output.version();
    let (beside, diff) = lay(&table, id, &rebuild.silver.adds(), &before, range, made_from).await?;
    failpoint::reach("rebuild-laid-beside");
    if swap == Swap::No {
        return Ok(Beside::kept(beside.name(), diff));
    }
    let is_moot = diff.is_empty() && rebuild.quarantine.is_empty();
    let landed = is_moot || rebuild.commit(&mut report, Some(id)).await?;
    failpoint::reach("rebuild-swapped-in");
    lake.drop_rebuilt(beside.name())
        .await
        .step("remove the result of a rebuild")?;
    if !landed {
        return Err(Error::Changed(name));
    }
    report.elapsed = started.elapsed();
    report.log();
    Ok(Beside::swapped(name, diff, report))
}

/// Swaps in what an earlier rebuild with this id has left beside silver; `None` where it has left nothing. The range is computed once more, and has to come
/// to the same rows: files may have been merged since, rows of the range may not have changed.
pub async fn swap(lake: &Lake, options: &SilverOptions, id: &str) -> Result<Option<Beside>> {
    let started = Instant::now();
    let name = TableName::silver_trades();
    let Some(side) = Side::find(lake, &name, id).await? else {
        return Ok(None);
    };
    let remove = async || {
        let removed = lake.drop_rebuilt(side.table.name()).await;
        removed.step("remove the result of a rebuild")
    };
    let table = lake.table(&name).await.step("open a table")?;
    if let Some(version) = side.swapped(&table).await? {
        remove().await?;
        return Ok(Some(Beside::landed(name, version)));
    }
    let mut silver = open(lake, options, &side.range, true).await?;
    silver.refresh().await?;
    let Some(position) = silver.position() else {
        return Ok(Some(Beside::nothing(name)));
    };
    let mut rebuild = Rebuild::open(lake, options, &side.range, silver.input(), position).await?;
    let version = rebuild.silver.output.version();
    side.check_unchanged(&table, version).await?;
    let before = rebuild.before().await?;
    let mut report = rebuild.stage().await?;
    side.check_same(&table, &rebuild.silver.adds()).await?;
    let diff = diff((&table, &before), (&side.table, &side.files), &side.range).await?;
    failpoint::reach("rebuild-swap-planned");
    let is_moot = diff.is_empty() && rebuild.quarantine.is_empty();
    if !is_moot && !rebuild.commit(&mut report, Some(id)).await? {
        return Err(Error::Changed(name));
    }
    failpoint::reach("rebuild-swapped-in");
    remove().await?;
    report.elapsed = started.elapsed();
    report.log();
    Ok(Some(Beside::swapped(name, diff, report)))
}

async fn open(lake: &Lake, options: &SilverOptions, range: &RebuildRange, force: bool) -> Result<Silver> {
    let silver = Silver::open(lake.clone(), options.clone()).await?;
    if !force {
        check(silver.input(), ARRIVAL_DAYS, range).await?;
        let table = lake.table(&TableName::silver_trades()).await.step("open a table")?;
        check(&table, 0, range).await?;
    }
    Ok(silver)
}

struct Rebuild<'a> {
    lake: &'a Lake,
    options: &'a SilverOptions,
    range: &'a RebuildRange,
    bronze: &'a Table,
    /// Version of bronze that silver stands at.
    position: u64,
    silver: Staged,
    quarantine: Staged,
}

impl<'a> Rebuild<'a> {
    async fn open(
        lake: &'a Lake,
        options: &'a SilverOptions,
        range: &'a RebuildRange,
        bronze: &'a Table,
        position: u64,
    ) -> Result<Self> {
        let open = async |name: TableName, layout| {
            let table = lake.table(&name).await.step("open a table")?;
            Staged::open(Output::open(table, bronze.name()).await?, layout, range).await
        };
        Ok(Self {
            silver: open(TableName::silver_trades(), Layout::SILVER).await?,
            quarantine: open(TableName::silver_quarantine(), Layout::QUARANTINE).await?,
            lake,
            options,
            range,
            bronze,
            position,
        })
    }

    /// Files of silver as it stands that may hold rows of the range.
    async fn before(&self) -> Result<Vec<Arc<DataFile>>> {
        let output = &self.silver.output;
        let files = Files::load(output.table(), output.version()).await?;
        Ok(files.iter().filter(|file| self.range.may_hold(file)).cloned().collect())
    }

    /// Everything but the commit.
    async fn stage(&mut self) -> Result<RefreshReport> {
        let mut report = RefreshReport::new(TableName::silver_trades());
        report.input_to = Some(self.position);
        self.take_out(&mut report).await?;
        self.put_back(&mut report).await?;
        Ok(report)
    }

    async fn take_out(&mut self, report: &mut RefreshReport) -> Result<()> {
        let now_ms = self.lake.clock().now_us() / 1000;
        for staged in [&mut self.silver, &mut self.quarantine] {
            for found in staged.rows_of(self.range).await? {
                if staged.output.table().name() == &report.table {
                    report.superseded += found.count;
                }
                match found.rows {
                    None => staged.drop_file(found.slot, now_ms).await?,
                    Some(rows) => {
                        let changes = staged.deletion(found.slot, rows);
                        staged.stage(&changes, self.options, self.lake).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The bronze rows of the range, as a refresh would take them, chunk by chunk.
    async fn put_back(&mut self, report: &mut RefreshReport) -> Result<()> {
        for files in self.chunks().await? {
            let chunk = Chunk {
                after: None,
                to: self.position,
                rows: 0,
                files,
                reaches_end: true,
                within: Some(self.range.clone()),
            };
            let (silver, quarantine) = (&self.silver.output, &self.quarantine.output);
            let plan = plan(self.bronze, &chunk, &self.options.rules, silver, quarantine, false).await?;
            report.rows_in += plan.rows_in;
            report.rows_out += plan.silver.insert.num_rows() as u64;
            report.quarantined += plan.quarantined;
            report.repeats += plan.repeats;
            self.quarantine.stage(&plan.quarantine, self.options, self.lake).await?;
            self.silver.stage(&plan.silver, self.options, self.lake).await?;
        }
        Ok(())
    }

    /// Files of bronze that may hold a trade of the range, some rows at a time.
    async fn chunks(&self) -> Result<Vec<Vec<FileRef>>> {
        let files = Files::load(self.bronze, self.position).await?;
        let mut wanted: Vec<_> = files.iter().filter(|file| self.range.may_hold(file)).collect();
        wanted.sort_by(|a, b| (a.micros("ts"), &a.add.path).cmp(&(b.micros("ts"), &b.add.path)));
        let mut chunks: Vec<Vec<FileRef>> = Vec::new();
        let mut rows = u64::MAX;
        for file in wanted {
            if rows >= self.options.chunk_rows {
                chunks.push(Vec::new());
                rows = 0;
            }
            rows += file.rows.unwrap_or(self.options.chunk_rows);
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(FileRef::of(&file.add));
            }
        }
        Ok(chunks)
    }

    /// The quarantine first, as a side table; false where the range changed meanwhile.
    async fn commit(&mut self, report: &mut RefreshReport, id: Option<&str>) -> Result<bool> {
        if !self.quarantine.is_empty() {
            if self.quarantine.commit(self.range, id).await? == Landed::Lost {
                return Ok(false);
            }
            report.commits += 1;
        }
        if self.silver.is_empty() {
            return Ok(true);
        }
        match self.silver.commit(self.range, id).await? {
            Landed::Lost => Ok(false),
            Landed::At(version) => {
                report.version = Some(version);
                report.commits += 1;
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silver::tests::lake::{DAY, T0, TestLake, row};

    /// A rebuild that is staged while other trades come.
    async fn raced(range: (i64, i64), late: i64) -> bool {
        let lake = TestLake::new().await;
        let options = SilverOptions::default();
        lake.land(&[row(1, "5"), row(2, "6")]).await;
        let mut silver = Silver::open(lake.lake.clone(), options.clone()).await.unwrap();
        silver.refresh().await.unwrap();
        let range = RebuildRange::new(range.0, range.1, &[]).unwrap();
        let position = silver.position().unwrap();
        let mut rebuild = Rebuild::open(&lake.lake, &options, &range, silver.input(), position)
            .await
            .unwrap();
        let mut report = rebuild.stage().await.unwrap();
        let mut late_one = row(late, "7");
        (late_one.ts, late_one.offset) = (late, 77);
        late_one.received_at = late;
        lake.land(&[late_one]).await;
        Silver::open(lake.lake.clone(), options.clone())
            .await
            .unwrap()
            .refresh()
            .await
            .unwrap();
        let landed = rebuild.commit(&mut report, None).await.unwrap();
        assert_eq!(
            lake.lines(&TableName::silver_trades()).await.len(),
            3,
            "nothing is lost or doubled"
        );
        landed
    }

    /// A lesser repeat takes a row out of a file, and puts another in its place: of the range, or of another day.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_row_taken_out_elsewhere_is_not_in_the_way() {
        for (id, lands) in [(DAY, true), (1, false)] {
            let lake = TestLake::new().await;
            let options = SilverOptions::default();
            let refresh = async || {
                let mut silver = Silver::open(lake.lake.clone(), options.clone()).await.unwrap();
                silver.refresh().await.unwrap();
                silver
            };
            lake.land(&[row(1, "5"), row(2, "6"), row(DAY, "7")]).await;
            let silver = refresh().await;
            let range = RebuildRange::new(T0, T0 + DAY, &[]).unwrap();
            let position = silver.position().unwrap();
            let mut rebuild = Rebuild::open(&lake.lake, &options, &range, silver.input(), position)
                .await
                .unwrap();
            let mut report = rebuild.stage().await.unwrap();
            let mut lesser = row(id, if id == DAY { "7" } else { "5" });
            lesser.partition = -1;
            lake.land(&[lesser]).await;
            refresh().await;
            let landed = rebuild.commit(&mut report, None).await.unwrap();
            assert_eq!(landed, lands, "row {id}");
            assert_eq!(lake.lines(&TableName::silver_trades()).await.len(), 3);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_range_that_has_changed_since_is_not_replaced() {
        assert!(!raced((T0, T0 + DAY), T0 + 3).await);
        assert!(raced((T0, T0 + DAY), T0 + DAY + 3).await, "another day");
    }
}

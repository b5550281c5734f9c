//! Silver and its quarantine from bronze: the rows of the range are taken out, those of bronze are judged and settled again against all that stays.

use std::time::Instant;

use ticklake_sql::{Lake, Table, TableName};

use super::low_water::{ARRIVAL_DAYS, check};
use super::range::RebuildRange;
use super::staged::{Layout, Staged};
use crate::error::Step;
use crate::gold::Files;
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
    let mut silver = Silver::open(lake.clone(), options.clone()).await?;
    if !force {
        check(silver.input(), ARRIVAL_DAYS, range).await?;
        check(
            &lake.table(&TableName::silver_trades()).await.step("open a table")?,
            0,
            range,
        )
        .await?;
    }
    for _ in 0..ATTEMPTS {
        silver.refresh().await?;
        let Some(position) = silver.position() else {
            return Ok(RefreshReport::new(TableName::silver_trades()));
        };
        let mut report = RefreshReport::new(TableName::silver_trades());
        report.input_to = Some(position);
        let mut rebuild = Rebuild::open(lake, options, range, silver.input(), position).await?;
        rebuild.take_out(&mut report).await?;
        rebuild.put_back(&mut report).await?;
        if rebuild.commit(&mut report).await? {
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
            Ok::<_, Error>(Staged::new(Output::open(table, bronze.name()).await?, layout))
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
    async fn commit(&mut self, report: &mut RefreshReport) -> Result<bool> {
        if !self.quarantine.is_empty() {
            if self.quarantine.commit(self.range).await? == Landed::Lost {
                return Ok(false);
            }
            report.commits += 1;
        }
        if self.silver.is_empty() {
            return Ok(true);
        }
        match self.silver.commit(self.range).await? {
            Landed::Lost => Ok(false),
            Landed::At(version) => {
                report.version = Some(version);
                report.commits += 1;
                Ok(true)
            }
        }
    }
}

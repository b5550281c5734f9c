//! A rebuild whose bars lie in a table beside gold first, and are swapped in by one commit unless the range has changed by then.

use std::sync::Arc;

use deltalake::kernel::Add;
use ticklake_sql::failpoint;

use super::output::Landed;
use super::refresh::{Gold, Plan};
use super::windows::forced;
use crate::error::Step;
use crate::rebuild::beside::lay;
use crate::rebuild::diff::diff;
use crate::rebuild::side::Side;
use crate::rebuild::stood::Stood;
use crate::rebuild::{Beside, RebuildRange, Swap};
use crate::scan::DataFile;
use crate::{Error, RefreshReport, Result};

/// Commits of others beside the range that a swap is planned again upon.
const ATTEMPTS: usize = 20;

impl Gold {
    pub async fn rebuild_beside(&mut self, range: &RebuildRange, id: &str, swap: Swap) -> Result<Beside> {
        // What is behind anyhow is no part of what the rebuild changes.
        self.refresh().await?;
        self.follow().await?;
        let outcome = self.beside(range, id, swap).await;
        self.forced.clear();
        self.hours.reset();
        outcome
    }

    async fn beside(&mut self, range: &RebuildRange, id: &str, swap: Swap) -> Result<Beside> {
        let made = self.made(range).await?;
        let table = self.output.table().clone();
        let (files, before) = (made.files.as_slice(), made.before.as_slice());
        let (beside, diff) = lay(&table, id, files, before, &made.range, made.version).await?;
        failpoint::reach("rebuild-laid-beside");
        if swap == Swap::No {
            return Ok(Beside::kept(beside.name(), diff));
        }
        let mut report = RefreshReport::new(table.name().clone());
        let swapped = self.swap_in(made, id, &mut report).await;
        failpoint::reach("rebuild-swapped-in");
        self.lake
            .drop_rebuilt(beside.name())
            .await
            .step("remove the result of a rebuild")?;
        swapped?;
        report.log();
        Ok(Beside::swapped(table.name().clone(), diff, report))
    }

    /// Swaps in what an earlier rebuild has left beside. The range is computed once more and has to come to the same bars.
    pub async fn swap_side(&mut self, side: &Side) -> Result<Beside> {
        let table = self.output.table().clone();
        let landed = side.swapped(&table).await?;
        let outcome = match landed {
            Some(version) => Ok(Beside::landed(table.name().clone(), version)),
            None => self.swap_unswapped(side).await,
        };
        self.forced.clear();
        self.hours.reset();
        let beside = outcome?;
        let removed = self.lake.drop_rebuilt(side.table.name()).await;
        removed.step("remove the result of a rebuild")?;
        Ok(beside)
    }

    async fn swap_unswapped(&mut self, side: &Side) -> Result<Beside> {
        self.refresh().await?;
        self.follow().await?;
        let made = self.made(&side.range).await?;
        let table = self.output.table().clone();
        side.check_unchanged(&table, made.version).await?;
        side.check_same(&table, &made.files).await?;
        let diff = diff((&table, &made.before), (&side.table, &side.files), &side.range).await?;
        failpoint::reach("rebuild-swap-planned");
        let mut report = RefreshReport::new(table.name().clone());
        self.swap_in(made, &side.id, &mut report).await?;
        failpoint::reach("rebuild-swapped-in");
        report.log();
        Ok(Beside::swapped(table.name().clone(), diff, report))
    }

    /// Computes the range, to be swapped in.
    async fn made(&mut self, range: &RebuildRange) -> Result<Made> {
        self.forced = forced(range, &self.calendar, &self.dates());
        let table = self.output.table().clone();
        let range = RebuildRange {
            from_us: self.forced.first().map_or(range.from_us, |first| first.from),
            until_us: self.forced.last().map_or(range.until_us, |last| last.until),
            symbols: range.symbols.clone(),
        };
        let (gold, silver) = self.stood(&range);
        let version = self.held_version;
        let (_, adds) = table.files(Some(version)).await.step("load the files of gold")?;
        let file = |add: &Add| Arc::new(DataFile::new(add.clone(), table.spec()));
        let adds: Vec<Add> = adds.into_iter().filter(|add| range.may_hold(&file(add))).collect();
        let before = adds.iter().map(file).collect();
        let plan = self.plan().await?;
        Ok(Made {
            files: match &plan {
                Some(plan) => after(adds, plan),
                None => adds,
            },
            range,
            version,
            before,
            plan,
            gold,
            silver,
        })
    }

    /// What a plan for the range is made from, gold and silver.
    fn stood(&self, range: &RebuildRange) -> (Stood, Stood) {
        (
            Stood::new(self.held_version, self.hours.files().iter(), range),
            Stood::new(self.input.version(), self.input.files().iter(), range),
        )
    }

    /// Commits the plan; where others have committed beside the range since, plans the same again.
    async fn swap_in(&mut self, made: Made, id: &str, report: &mut RefreshReport) -> Result<()> {
        self.swaps = Some(id.to_owned());
        let outcome = self.land_made(made, report).await;
        self.swaps = None;
        outcome
    }

    async fn land_made(&mut self, mut made: Made, report: &mut RefreshReport) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(planned) = made.plan.take() else { return Ok(()) };
            if let Landed::At(_) = self.land(planned, report).await? {
                return Ok(());
            }
            self.hours.reset();
            self.follow().await?;
            let gold = self.output.table();
            let has_changed = made.gold.has_changed(gold, self.held_version, &made.range).await?
                || made
                    .silver
                    .has_changed(self.input.table(), self.input.version(), &made.range)
                    .await?;
            if has_changed {
                return Err(Error::Changed(gold.name().clone()));
            }
            made.plan = self.plan().await?;
        }
        Err(Error::Contended {
            table: self.output.table().name().clone(),
            attempts: u32::try_from(ATTEMPTS).unwrap_or(u32::MAX),
        })
    }
}

/// Files that hold the range once the plan has landed.
fn after(before: Vec<Add>, plan: &Plan) -> Vec<Add> {
    let goes = |add: &Add| plan.written.removes.iter().any(|remove| remove.path == add.path);
    let stays = before.into_iter().filter(|add| !goes(add));
    stays.chain(plan.written.adds.iter().cloned()).collect()
}

/// A range computed again, written and not committed.
struct Made {
    /// Whole windows.
    range: RebuildRange,
    /// Of gold, whose files that may hold the range are `before`.
    version: u64,
    before: Vec<Arc<DataFile>>,
    /// What holds the range once the plan has landed.
    files: Vec<Add>,
    /// `None`: nothing changes.
    plan: Option<Plan>,
    gold: Stood,
    silver: Stood,
}

#[cfg(test)]
mod tests {
    use ticklake_sql::TableName;

    use super::super::{GoldOptions, recount};
    use super::*;
    use crate::silver::tests::lake::{DAY, Row, T0, TestLake, row};
    use crate::silver::{Silver, SilverOptions};

    const HOUR: i64 = 3_600_000_000;

    async fn land(lake: &TestLake, id: i64, at: i64) {
        let trade = Row {
            ts: at,
            received_at: at,
            ..row(id, "5")
        };
        lake.land(&[trade]).await;
        let mut silver = Silver::open(lake.lake.clone(), SilverOptions::default()).await.unwrap();
        silver.refresh().await.unwrap();
    }

    async fn open(lake: &TestLake) -> Gold {
        Gold::open(lake.lake.clone(), GoldOptions::default()).await.unwrap()
    }

    async fn assert_right(lake: &TestLake) {
        open(lake).await.refresh().await.unwrap();
        let mut found = Vec::new();
        let nothing = Default::default();
        recount(&lake.lake, &GoldOptions::default(), &nothing, |difference| {
            found.push(difference)
        })
        .await
        .unwrap();
        assert_eq!(found, []);
    }

    /// A damaged bar: a rebuild has something to do.
    async fn damaged() -> TestLake {
        let lake = TestLake::new().await;
        land(&lake, 1, T0).await;
        land(&lake, 2, T0 + HOUR).await;
        open(&lake).await.refresh().await.unwrap();
        let gold = lake.lake.table(&TableName::gold_ohlcv("1m")).await.unwrap();
        let (_, adds) = gold.files(None).await.unwrap();
        let spec = gold.spec();
        let first = adds
            .iter()
            .find(|add| DataFile::new((*add).clone(), spec).micros("window_start").0 == T0)
            .unwrap();
        let gone = ticklake_sql::commit::removal(first, lake.lake.clock().now(), true);
        crate::silver::tests::lake::commit(&gold, "ticklake/gold.ohlcv_1m/writer", Vec::new(), vec![gone]).await;
        lake
    }

    fn range() -> RebuildRange {
        RebuildRange::new(T0, T0 + HOUR / 2, &[]).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bars_beside_gold_are_compared_and_swapped_in() {
        let lake = damaged().await;
        let looked = open(&lake).await.rebuild_beside(&range(), "a", Swap::No).await.unwrap();
        let said = (looked.diff.rows_before, looked.diff.rows_after, looked.diff.added);
        assert_eq!(said, (0, 1, 1));
        assert_eq!(lake.lines(&looked.kept.unwrap()).await.len(), 1);
        assert_eq!(
            lake.lines(&TableName::gold_ohlcv("1m")).await.len(),
            1,
            "nothing is swapped in"
        );
        let swapped = open(&lake).await.rebuild_beside(&range(), "b", Swap::In).await.unwrap();
        assert_eq!((swapped.diff.added, swapped.swapped.unwrap().commits), (1, 1));
        let again = open(&lake).await.rebuild_beside(&range(), "c", Swap::In).await.unwrap();
        assert_eq!((again.diff.rows_before, again.diff.is_empty()), (1, true));
        assert_right(&lake).await;
    }

    /// The swap of a plan that was made before another trade came and another refresh brought it to gold.
    async fn raced(late: i64) -> Result<()> {
        let lake = damaged().await;
        let mut gold = open(&lake).await;
        let made = gold.made(&range()).await.unwrap();
        land(&lake, 3, late).await;
        open(&lake).await.refresh().await.unwrap();
        let mut report = RefreshReport::new(gold.output.table().name().clone());
        let swapped = gold.swap_in(made, "a", &mut report).await;
        if swapped.is_ok() {
            assert_right(&lake).await;
        }
        swapped
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_range_that_has_changed_since_is_refused_and_what_lies_beside_is_not_in_the_way() {
        let refused = raced(T0 + 60_000_000).await.unwrap_err();
        assert!(matches!(refused, Error::Changed(_)), "{refused}");
        raced(T0 + 2 * HOUR).await.unwrap();
        raced(T0 + DAY).await.unwrap();
    }
}

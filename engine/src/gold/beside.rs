//! A rebuild whose bars lie in a table beside gold first, and are swapped in by one commit unless the range has changed by then.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltalake::kernel::Add;
use ticklake_sql::ddl::TableSpec;
use ticklake_sql::{Table, failpoint, log};

use super::files::Files;
use super::output::Landed;
use super::refresh::{Gold, Plan};
use super::windows::forced;
use crate::error::Step;
use crate::rebuild::beside::lay;
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
        self.forced = forced(range, &self.calendar, &self.dates());
        let outcome = self.beside(range, id, swap).await;
        self.forced.clear();
        self.hours.reset();
        outcome
    }

    async fn beside(&mut self, range: &RebuildRange, id: &str, swap: Swap) -> Result<Beside> {
        let table = self.output.table().clone();
        let range = RebuildRange {
            from_us: self.forced.first().map_or(range.from_us, |first| first.from),
            until_us: self.forced.last().map_or(range.until_us, |last| last.until),
            symbols: range.symbols.clone(),
        };
        let stood = self.stood(&range);
        let (_, adds) = table
            .files(Some(stood.gold.version))
            .await
            .step("load the files of gold")?;
        let adds: Vec<Add> = adds
            .into_iter()
            .filter(|add| may_hold(add, table.spec(), &range))
            .collect();
        let before: Vec<_> = adds
            .iter()
            .map(|add| Arc::new(DataFile::new(add.clone(), table.spec())))
            .collect();
        let plan = self.plan().await?;
        let files = match &plan {
            Some(plan) => after(adds, plan),
            None => adds,
        };
        let (beside, diff) = lay(&table, id, &files, &before, &range).await?;
        failpoint::reach("rebuild-laid-beside");
        if swap == Swap::No {
            return Ok(Beside::kept(beside.name(), diff));
        }
        let mut report = RefreshReport::new(table.name().clone());
        let swapped = match plan {
            Some(plan) => self.swap_in(plan, &range, stood, &mut report).await,
            None => Ok(()),
        };
        failpoint::reach("rebuild-swapped-in");
        self.lake
            .drop_rebuilt(beside.name())
            .await
            .step("remove the result of a rebuild")?;
        swapped?;
        report.log();
        Ok(Beside::swapped(table.name().clone(), diff, report))
    }

    /// What a plan for the range is made from.
    fn stood(&self, range: &RebuildRange) -> Stood {
        let in_range = |files: &Files, column| {
            let files = files.iter().filter(|file| holds(file, column, range));
            files.map(|file| file.add.path.clone()).collect()
        };
        Stood {
            gold: Input {
                version: self.held_version,
                files: in_range(self.hours.files(), "window_start"),
            },
            silver: Input {
                version: self.input.version(),
                files: in_range(self.input.files(), "ts"),
            },
        }
    }

    /// Commits the plan; where others have committed beside the range since, plans the same again.
    async fn swap_in(
        &mut self,
        plan: Plan,
        range: &RebuildRange,
        mut stood: Stood,
        report: &mut RefreshReport,
    ) -> Result<()> {
        let mut plan = Some(plan);
        for _ in 0..ATTEMPTS {
            let Some(planned) = plan.take() else { return Ok(()) };
            if let Landed::At(_) = self.land(planned, report).await? {
                return Ok(());
            }
            self.hours.reset();
            self.follow().await?;
            let gold = self.output.table();
            let has_changed = stood.gold.has_changed(gold, self.held_version, range).await?
                || stood
                    .silver
                    .has_changed(self.input.table(), self.input.version(), range)
                    .await?;
            if has_changed {
                return Err(Error::Changed(gold.name().clone()));
            }
            plan = self.plan().await?;
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

struct Stood {
    gold: Input,
    silver: Input,
}

/// A version of a table, and its files that may hold rows of the range.
struct Input {
    version: u64,
    files: BTreeSet<String>,
}

impl Input {
    /// Some commit up to `to` has changed rows that may lie in the range.
    async fn has_changed(&mut self, table: &Table, to: u64, range: &RebuildRange) -> Result<bool> {
        while self.version < to {
            let entry = log::read(table, self.version + 1).await;
            let Some(entry) = entry.step("read what others have committed")? else {
                return Ok(true);
            };
            self.version = entry.version;
            for add in entry.adds.iter().filter(|add| may_hold(add, table.spec(), range)) {
                if add.data_change {
                    return Ok(true);
                }
                // Merged: the same rows in another file.
                self.files.insert(add.path.clone());
            }
            let mut removed = entry.removes.iter().filter(|remove| remove.data_change);
            if removed.any(|remove| self.files.contains(&remove.path)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// By the statistics of trade time or of the start of windows.
fn may_hold(add: &Add, spec: &TableSpec, range: &RebuildRange) -> bool {
    let file = DataFile::new(add.clone(), spec);
    let column = if spec.schema.field_with_name("window_start").is_ok() {
        "window_start"
    } else {
        "ts"
    };
    holds(&file, column, range)
}

fn holds(file: &DataFile, column: &str, range: &RebuildRange) -> bool {
    let (first, last) = file.micros(column);
    first < range.until_us
        && range.from_us <= last
        && range
            .symbols
            .as_ref()
            .is_none_or(|symbols| symbols.iter().any(|symbol| file.may_hold("symbol", symbol)))
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
        gold.forced = forced(&range(), &gold.calendar, &gold.dates());
        let stood = gold.stood(&range());
        let plan = gold.plan().await.unwrap().unwrap();
        land(&lake, 3, late).await;
        open(&lake).await.refresh().await.unwrap();
        let mut report = RefreshReport::new(gold.output.table().name().clone());
        let swapped = gold.swap_in(plan, &range(), stood, &mut report).await;
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

//! The jobs, each as its command runs it once, and what has to be so before it has something to do.

use std::time::Duration;

use ticklake_engine::Result;
use ticklake_engine::backup::{self, To};
use ticklake_engine::gold::Gold;
use ticklake_engine::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use ticklake_engine::rebuild::{self, RebuildRange};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_engine::verify::{VerifyOptions, verify};
use ticklake_sql::{Lake, TableName, log};

use crate::world::{World, gold, refresh, strict};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    RefreshSilver,
    RefreshGold,
    RebuildSilver,
    RebuildGold,
    Backfill,
    Optimize,
    Vacuum,
    Retention,
    Checkpoint,
    Release,
    Rollback,
    Verify,
}

pub const ALL: [Job; 12] = [
    Job::RefreshSilver,
    Job::RefreshGold,
    Job::RebuildSilver,
    Job::RebuildGold,
    Job::Backfill,
    Job::Optimize,
    Job::Vacuum,
    Job::Retention,
    Job::Checkpoint,
    Job::Release,
    Job::Rollback,
    Job::Verify,
];

impl Job {
    /// Brings a copy of the world to where this job has work.
    pub async fn prepare(self, world: &World) {
        let lake = world.lake();
        match self {
            Self::RefreshGold => {
                let mut silver = Silver::open(lake, strict()).await.unwrap();
                silver.refresh().await.unwrap();
            }
            Self::Vacuum => {
                refresh(&lake).await;
                merge(&lake).await.unwrap();
                // Whatever stands still at the old versions has moved on, long ago.
                world.load(&lake, "d").await.unwrap();
                refresh(&lake).await;
                world.pass_days(6);
            }
            Self::Retention => {
                refresh(&lake).await;
                world.pass_days(40);
            }
            _ => {}
        }
    }

    pub async fn run(self, world: &World, lake: &Lake) -> Result<()> {
        // From the middle of the first hour to the middle of the second.
        let range = RebuildRange::new(1_735_691_400_000_000, 1_735_695_000_000_000, &[])?;
        match self {
            Self::RefreshSilver => Silver::open(lake.clone(), strict()).await?.refresh().await.map(drop),
            Self::RefreshGold => {
                let mut gold = Gold::open(lake.clone(), gold()).await?;
                gold.refresh().await.map(drop)
            }
            Self::RebuildSilver => rebuild::silver(lake, &strict(), &range, false).await.map(drop),
            Self::RebuildGold => rebuild::gold(lake, gold(), &range, false).await.map(drop),
            Self::Backfill => world.load(lake, "d").await,
            Self::Optimize => merge(lake).await,
            Self::Vacuum => {
                let tables = tables(lake).await?;
                for table in &tables {
                    let options = VacuumOptions {
                        full: true,
                        ..VacuumOptions::default()
                    };
                    vacuum(table, &tables, &options).await?;
                }
                Ok(())
            }
            Self::Retention => {
                let (tables, bronze) = (tables(lake).await?, TableName::bronze_trades());
                let options = RetentionOptions {
                    keep: Duration::from_secs(30 * 86_400),
                    dry_run: false,
                };
                for table in tables.iter().filter(|table| *table.name() == bronze) {
                    retain(table, &tables, options).await?;
                }
                Ok(())
            }
            Self::Checkpoint => {
                for table in tables(lake).await? {
                    let done = log::checkpoint(&table, None).await;
                    done.map_err(|error| ticklake_engine::Error::sql("write a checkpoint", error))?;
                }
                Ok(())
            }
            Self::Release => {
                let mut silver = Silver::open(lake.clone(), SilverOptions::default()).await?;
                silver.release(None).await.map(drop)
            }
            Self::Rollback => {
                let silver = TableName::silver_trades();
                backup::rollback(lake, &silver, To::Version(2)).await.map(drop)
            }
            Self::Verify => {
                let options = VerifyOptions {
                    rules: strict().rules,
                    gold: vec![gold()],
                    ..VerifyOptions::default()
                };
                let report = verify(lake, None, &options).await?;
                assert!(report.is_clean(), "a fault is no difference: {report:#?}");
                Ok(())
            }
        }
    }
}

async fn tables(lake: &Lake) -> Result<Vec<ticklake_sql::Table>> {
    let tables = lake.tables().await;
    tables.map_err(|error| ticklake_engine::Error::sql("find the tables of a lake", error))
}

async fn merge(lake: &Lake) -> Result<()> {
    let options = OptimizeOptions {
        min_age: Duration::ZERO,
        thorough: true,
        ..OptimizeOptions::default()
    };
    for table in tables(lake).await? {
        optimize(&table, &options).await?;
    }
    Ok(())
}

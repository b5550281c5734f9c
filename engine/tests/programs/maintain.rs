//! Maintenance as a process of its own, for the tests that kill it: LAKE JOB [TIMES]. Jobs: optimize, cluster, vacuum, retention, rebuild, swap,
//! release.

use std::time::Duration;

use ticklake_engine::gold::GoldOptions;
use ticklake_engine::maintenance::{
    OptimizeOptions, RetentionOptions, VacuumOptions, cluster, optimize, retain, vacuum,
};
use ticklake_engine::rebuild::{self, RebuildRange, Swap};
use ticklake_engine::silver::{Silver, SilverOptions};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions, TableName};

/// 2025-01-01, where the tests' trades begin.
const T0: i64 = 1_735_689_600_000_000;
const DAY: i64 = 86_400_000_000;

/// The whole of the tests' trades again, into tables beside.
async fn rebuild_beside(lake: &Lake) -> Result<(), Box<dyn std::error::Error>> {
    let range = RebuildRange::new(T0, T0 + 2 * DAY, &[])?;
    rebuild::silver_beside(lake, &SilverOptions::default(), &range, false, "killed", Swap::In).await?;
    rebuild::gold_beside(lake, GoldOptions::default(), &range, false, "killed", Swap::In).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (uri, job, times) = (next(), next(), next().parse().unwrap_or(1));
    let by_symbol = || vec!["symbol".to_owned(), "date".to_owned()];
    let options = LakeOptions {
        durability: Durability::Os,
        partition_columns: match job.as_str() {
            "cluster" => [(TableName::silver_trades(), by_symbol())].into(),
            _ => Default::default(),
        },
        ..LakeOptions::default()
    };
    let lake = Lake::open(&uri, options, Clock::system())?;
    for _ in 0..times {
        if job == "release" {
            let mut silver = Silver::open(lake.clone(), SilverOptions::default()).await?;
            silver.release(None).await?;
            continue;
        }
        if job == "rebuild" {
            rebuild_beside(&lake).await?;
            continue;
        }
        if job == "swap" {
            rebuild::silver_swap(&lake, &SilverOptions::default(), "kept").await?;
            continue;
        }
        let tables = lake.tables().await?;
        for table in &tables {
            match job.as_str() {
                "optimize" => {
                    let options = OptimizeOptions {
                        min_age: Duration::ZERO,
                        thorough: true,
                        ..OptimizeOptions::default()
                    };
                    optimize(table, &options).await.map(drop)?;
                }
                "cluster" => cluster(table, &OptimizeOptions::default()).await.map(drop)?,
                "vacuum" => {
                    let options = VacuumOptions {
                        time_travel: Some(Duration::from_secs(2)),
                        floor: Duration::from_secs(2),
                        full: true,
                        ..VacuumOptions::default()
                    };
                    vacuum(table, &tables, &options).await.map(drop)?;
                }
                _ => {
                    let options = RetentionOptions {
                        keep: Duration::from_secs(24 * 3600),
                        dry_run: false,
                    };
                    retain(table, &tables, options).await.map(drop)?;
                }
            }
        }
    }
    Ok(())
}

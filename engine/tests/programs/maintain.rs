//! Maintenance as a process of its own, for the tests that kill it: LAKE JOB [TIMES]. Jobs: optimize, vacuum, retention.

use std::time::Duration;

use ticklake_engine::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use ticklake_sql::{Clock, Durability, Lake, LakeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let options = LakeOptions {
        durability: Durability::Os,
        ..LakeOptions::default()
    };
    let lake = Lake::open(&next(), options, Clock::system())?;
    let (job, times) = (next(), next().parse().unwrap_or(1));
    for _ in 0..times {
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
                "vacuum" => {
                    let options = VacuumOptions {
                        time_travel: Duration::from_secs(2),
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

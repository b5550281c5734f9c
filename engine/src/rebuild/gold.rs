//! One gold table from silver: every bar of the range computed again and compared with what stands there.

use ticklake_sql::{Lake, TableName};

use super::beside::{Beside, Swap};
use super::low_water::check;
use super::range::RebuildRange;
use super::side::Side;
use crate::error::Step;
use crate::gold::{Gold, GoldOptions};
use crate::{RefreshReport, Result};

/// Brings gold up to date and the range to what silver says, in one commit; none where every bar is right. `force`: also where retention has
/// taken trades away, whose bars go then.
pub async fn rebuild(lake: &Lake, options: GoldOptions, range: &RebuildRange, force: bool) -> Result<RefreshReport> {
    open(lake, options, range, force).await?.rebuild(range).await
}

/// Brings gold up to date, computes the range into a table beside it, and swaps that in unless the range has changed since.
pub async fn rebuild_beside(
    lake: &Lake,
    options: GoldOptions,
    range: &RebuildRange,
    force: bool,
    id: &str,
    swap: Swap,
) -> Result<Beside> {
    open(lake, options, range, force)
        .await?
        .rebuild_beside(range, id, swap)
        .await
}

/// Swaps in what an earlier rebuild with this id has left beside gold, as for silver.
pub async fn swap(lake: &Lake, options: GoldOptions, id: &str) -> Result<Option<Beside>> {
    let name = TableName::gold_ohlcv(&options.interval);
    match Side::find(lake, &name, id).await? {
        Some(side) => Gold::open(lake.clone(), options)
            .await?
            .swap_side(&side)
            .await
            .map(Some),
        None => Ok(None),
    }
}

async fn open(lake: &Lake, options: GoldOptions, range: &RebuildRange, force: bool) -> Result<Gold> {
    if !force {
        let silver = lake.table(&TableName::silver_trades()).await.step("open a table")?;
        check(&silver, 0, range).await?;
    }
    Gold::open(lake.clone(), options).await
}

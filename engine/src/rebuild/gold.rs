//! One gold table from silver: every bar of the range computed again and compared with what stands there.

use ticklake_sql::{Lake, TableName};

use super::low_water::check;
use super::range::RebuildRange;
use crate::error::Step;
use crate::gold::{Gold, GoldOptions};
use crate::{RefreshReport, Result};

/// Brings gold up to date and the range to what silver says, in one commit; none where every bar is right. `force`: also where retention has
/// taken trades away, whose bars go then.
pub async fn rebuild(lake: &Lake, options: GoldOptions, range: &RebuildRange, force: bool) -> Result<RefreshReport> {
    if !force {
        check(
            &lake.table(&TableName::silver_trades()).await.step("open a table")?,
            0,
            range,
        )
        .await?;
    }
    Gold::open(lake.clone(), options).await?.rebuild(range).await
}

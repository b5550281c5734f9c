//! The first date for which a table still holds everything. Below it retention has taken the input away, and a rebuild would take the output too.

use chrono::{NaiveDate, TimeDelta};
use ticklake_sql::{Table, app_ids};

use super::range::RebuildRange;
use crate::error::Step;
use crate::{Error, Result};

/// A trade may lie this many days after the date of its arrival (`silver.ts_ahead`): bronze is kept by arrival, a range is of trade time.
pub const ARRIVAL_DAYS: i64 = 1;

/// Refuses a range that begins below the mark of `table`, `margin_days` added. The mark is the position of an app id: days since the epoch.
pub async fn check(table: &Table, margin_days: i64, range: &RebuildRange) -> Result<()> {
    let (_, positions) = table.positions().await.step("read the positions of a table")?;
    let Some(mark) = positions.get(&app_ids::low_water(table.name())) else {
        return Ok(());
    };
    let first_day = mark.saturating_add(margin_days);
    if range.first_day() >= first_day {
        return Ok(());
    }
    let first = TimeDelta::try_days(first_day).and_then(|days| NaiveDate::default().checked_add_signed(days));
    Err(Error::Invalid(format!(
        "{} no longer holds everything before {}: retention has removed it, and a rebuild would lose what was made of it; \
         write a later --from, or --force to rebuild from what is left",
        table.name(),
        first.map_or_else(|| format!("day {first_day}"), |date| date.to_string()),
    )))
}

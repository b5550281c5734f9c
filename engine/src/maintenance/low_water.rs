//! The first date for which a table vouches: what lies before it was taken out by retention, and what comes late for it is set aside, so that
//! a few late trades never stand where a whole day was.

use std::collections::HashMap;

use chrono::{NaiveDate, TimeDelta};
use ticklake_sql::{TableName, app_ids};

/// The mark among a table's positions, where it has one.
pub fn of(table: &TableName, positions: &HashMap<String, i64>) -> Option<NaiveDate> {
    positions.get(&app_ids::low_water(table)).copied().and_then(date)
}

pub fn days(date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::default()).num_days()
}

pub fn date(days: i64) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(TimeDelta::try_days(days)?)
}

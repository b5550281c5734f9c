//! The rows of one version: of the first one from the whole table, of the next ones from the files that came and went.

use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch, UInt64Array};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::execution::session_state::SessionState;

use super::bars::{self, Bar, newest, texts};
use super::trades::ended;
use crate::error::Result;
use crate::version::TableVersion;

/// NULL where no trade was found.
const FOUND: &str = "last_trade_id";

/// The rows of a version, one a venue and symbol.
#[derive(Debug, Clone)]
pub struct Held {
    pub version: Arc<TableVersion>,
    /// The version of the trades that was looked into.
    pub looked: Option<u64>,
    pub rows: RecordBatch,
}

impl Held {
    /// Some bar's trade was not there.
    pub fn lacks_trades(&self) -> bool {
        self.rows.column_by_name(FOUND).is_some_and(|ids| ids.null_count() > 0)
    }
}

pub async fn whole(
    version: &TableVersion,
    trades: Option<&TableVersion>,
    template: &SessionState,
) -> Result<RecordBatch> {
    let bars = pick(&bars::read(version.only(|_| true), template).await?)?;
    ended(bars, trades, template).await
}

/// The newest bars of what was added, over those of before.
pub async fn following(
    before: &Held,
    version: &TableVersion,
    trades: Option<&TableVersion>,
    template: &SessionState,
) -> Result<RecordBatch> {
    let added = version.only(|file| !before.version.holds(&file.path));
    let newer = bars::read(added, template).await?;
    let removed = before.version.only(|file| !version.holds(&file.path));
    if loses(&before.rows, &newer, &removed)? {
        return whole(version, trades, template).await;
    }
    let changed = ended(changed(&before.rows, &newer)?, trades, template).await?;
    // Of equal windows the later row wins.
    pick(&concat_batches(&before.rows.schema(), [&before.rows, &changed])?)
}

/// The rows of `held` after another look for the trades that were not there.
pub async fn again(held: &Held, trades: Option<&TableVersion>, template: &SessionState) -> Result<RecordBatch> {
    let ids = texts(&held.rows, FOUND)?;
    let known = newest(&held.rows)?;
    let without = take(&held.rows, known.values().filter(|bar| ids.is_null(bar.row)))?;
    let bars = without.project(&(0..held.version.schema().fields().len()).collect::<Vec<_>>())?;
    pick(&concat_batches(
        &held.rows.schema(),
        [&held.rows, &ended(bars, trades, template).await?],
    )?)
}

/// Whether a bar of `before` may have stood in a file that was removed, and none as new has come for its symbol.
fn loses(before: &RecordBatch, newer: &RecordBatch, removed: &TableVersion) -> Result<bool> {
    let spans = removed.spans_us();
    if spans.is_empty() {
        return Ok(false);
    }
    let newer = newest(newer)?;
    Ok(newest(before)?.into_iter().any(|(key, bar)| {
        let reached = newer.get(&key).is_some_and(|other| other.window_us >= bar.window_us);
        !reached && spans.iter().any(|(from, to)| (*from..=*to).contains(&bar.window_us))
    }))
}

/// The bars of `newer` that say something else than those of `before`: a file written again repeats most of what it held. A bar whose trade
/// was not found counts as changed.
fn changed(before: &RecordBatch, newer: &RecordBatch) -> Result<RecordBatch> {
    let ids = texts(before, FOUND)?;
    let known = newest(before)?;
    let bars = newest(newer)?;
    let changed = bars.iter().filter(|(key, bar)| {
        known.get(*key).is_none_or(|old| {
            bar.window_us > old.window_us
                || bar.window_us == old.window_us && (bar.state != old.state || ids.is_null(old.row))
        })
    });
    take(newer, changed.map(|(_, bar)| bar))
}

/// One row a venue and symbol, in their order.
fn pick(rows: &RecordBatch) -> Result<RecordBatch> {
    take(rows, newest(rows)?.values())
}

fn take<'a>(rows: &RecordBatch, bars: impl Iterator<Item = &'a Bar>) -> Result<RecordBatch> {
    let places: UInt64Array = bars.map(|bar| bar.row as u64).collect::<Vec<_>>().into();
    Ok(take_record_batch(rows, &places)?)
}

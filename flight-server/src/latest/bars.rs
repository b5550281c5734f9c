//! Newest bars: read from files of `gold.ohlcv_1m`, and found among rows.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::{AsArray, PrimitiveArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType};
use datafusion::execution::session_state::SessionState;

use super::{plain, rows, table};
use crate::error::{Error, Result};
use crate::schemas::Made;
use crate::version::TableVersion;

const WINDOWS: &str = include_str!("windows.sql");
const BARS: &str = include_str!("bars.sql");

/// The newest bar of each venue and symbol in `files`. Two looks: three columns of all of them, then whole rows of the few files that hold the windows.
pub async fn read(files: TableVersion, template: &SessionState) -> Result<RecordBatch> {
    let schema = plain(files.schema());
    if files.is_empty() {
        return Ok(RecordBatch::new_empty(schema));
    }
    let windows = rows(WINDOWS, Some(files.only(|_| true)), Made::new(), template).await?;
    let starts = times(&windows, "window_start")?.values();
    let holding = files.holding(&starts.iter().copied().collect::<BTreeSet<_>>());
    let made = Made::from([(("latest", "windows"), table(windows.clone())?)]);
    let bars = rows(BARS, Some(holding), made, template).await?;
    Ok(RecordBatch::try_new(schema, bars.columns().to_vec())?)
}

/// A row that may be the newest of its venue and symbol.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    pub row: usize,
    pub window_us: i64,
    /// Tells one state of the bar from the next.
    pub state: (i64, i64),
}

/// The newest bar of each venue and symbol; of equal windows the last one.
pub fn newest(rows: &RecordBatch) -> Result<BTreeMap<(&str, &str), Bar>> {
    let (venues, symbols) = (texts(rows, "venue")?, texts(rows, "symbol")?);
    let (windows, computed) = (times(rows, "window_start")?, times(rows, "computed_at")?);
    let revisions: &PrimitiveArray<Int64Type> = column(rows, "revision")?;
    let mut found: BTreeMap<(&str, &str), Bar> = BTreeMap::new();
    for row in 0..rows.num_rows() {
        let bar = Bar {
            row,
            window_us: windows.value(row),
            state: (revisions.value(row), computed.value(row)),
        };
        let known = found.entry((venues.value(row), symbols.value(row))).or_insert(bar);
        if known.window_us <= bar.window_us {
            *known = bar;
        }
    }
    Ok(found)
}

pub fn texts<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column = rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    column.ok_or_else(|| missing(name))
}

pub fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>> {
    column(rows, name)
}

fn column<'a, T: ArrowPrimitiveType>(rows: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>> {
    let column = rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<T>());
    column.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::Internal(format!("bars without {name}"))
}

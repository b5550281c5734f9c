//! Silver against bronze: every row of bronze that silver has read is in silver, in quarantine, or repeats a row that is in one of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::MemTable;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use deltalake::kernel::Add;
use ticklake_sql::{Table, models};

use super::bronze::{Held, Runs, SharedOrigins, each_row, lock, record_at};
use super::files::{self, Shared, differ};
use super::offsets::Offsets;
use super::options::VerifyOptions;
use super::report::Difference;
use crate::error::Step;
use crate::scan::{DataFile, OrderedScan, session};
use crate::silver::columns::{decimals, longs, micros, strings, text};
use crate::silver::read::{conform, subset};
use crate::silver::rows::{self, BRONZE_COLUMNS};
use crate::silver::rules::{PRICE, QTY, plain};
use crate::{Error, Result};

/// Names the rows of silver and quarantine that no row of `bronze` stands behind.
pub fn unknown(table: &Table, kept: &Held, bronze: &Held, origins: &SharedOrigins, report: &Shared) {
    let none = Offsets::default();
    for (number, offsets) in kept.iter() {
        let stray = offsets.without(bronze.of(number).unwrap_or(&none));
        let is_cut = lock(origins).are_cut();
        let first = bronze.of(number).and_then(Offsets::first).unwrap_or(i64::MAX);
        let low_water = if is_cut { first } else { i64::MIN };
        for run in stray.ranges().filter(|run| run.end > low_water) {
            let from = run.start.max(low_water);
            let count = u64::try_from(run.end - from).unwrap_or(0);
            let at = record_at(&lock(origins), number, from, run.end);
            let what = "silver or quarantine holds what bronze.trades does not".to_owned();
            let table = table.name().to_string();
            differ(
                report,
                count,
                Difference {
                    check: "silver_unknown",
                    table,
                    at,
                    what,
                },
            );
        }
    }
}

/// The offsets of `bronze` that `kept` lacks.
pub fn absent(bronze: &Held, kept: &Held) -> Held {
    let none = Offsets::default();
    let mut absent = Held::default();
    for (number, offsets) in bronze.iter() {
        let rest = offsets.without(kept.of(number).unwrap_or(&none));
        if rest.len() > 0 {
            *absent.of_mut(number) = rest;
        }
    }
    absent
}

/// The tables that a row may repeat, by their files that can be read.
pub struct Kept<'a> {
    pub silver: (&'a Table, Vec<Add>),
    pub quarantine: Option<(&'a Table, Vec<Add>)>,
}

/// Looks for a kept row that each absent row repeats; names those that have none. Returns how many have one.
pub async fn repeats(
    bronze: &Table,
    adds: Vec<Add>,
    absent: Held,
    kept: &Kept<'_>,
    origins: &SharedOrigins,
    options: &VerifyOptions,
    report: &Shared,
) -> Result<u64> {
    let total = absent.len();
    if total == 0 {
        return Ok(0);
    }
    let schema = subset(&bronze.spec().schema, &BRONZE_COLUMNS)?;
    let (mut explained, mut lost) = (0, Runs::default());
    let absent = Arc::new(absent);
    // File after file: what a file brings is settled before the next one is read, so memory is bounded by a piece and a file's absent rows.
    for add in adds {
        let pieces: Arc<Mutex<Vec<RecordBatch>>> = Arc::default();
        let (into, of, names, wanted) = (pieces.clone(), absent.clone(), origins.clone(), schema.clone());
        let visit = move |_: &Add, batch: &RecordBatch| {
            let mask = Mutex::new(Vec::with_capacity(batch.num_rows()));
            each_row(
                batch,
                &names,
                |number, offset, mask: &mut Vec<bool>| {
                    mask.push(of.of(number).is_some_and(|offsets| offsets.contains(offset)));
                },
                &mask,
            )?;
            let mask = BooleanArray::from(std::mem::take(&mut *lock(&mask)));
            if mask.true_count() > 0 {
                let rows = filter_record_batch(batch, &mask).step("pick rows that silver lacks")?;
                lock(&into).push(conform(&rows, &wanted)?);
            }
            Ok(())
        };
        let quiet: Shared = Arc::default();
        files::each(bronze, vec![add], &BRONZE_COLUMNS, 1, &quiet, visit).await?;
        let found = std::mem::take(&mut *lock(&pieces));
        for piece in in_pieces(found, &schema, options.piece_rows)? {
            let rows = piece.num_rows() as u64;
            let alone = unexplained(&piece, kept, options).await?;
            explained += rows - alone.num_rows() as u64;
            let runs = Mutex::new(std::mem::take(&mut lost));
            each_row(
                &alone,
                origins,
                |number, offset, runs: &mut Runs| runs.push(number, offset),
                &runs,
            )?;
            lost = std::mem::take(&mut *lock(&runs));
        }
    }
    lost.0.sort_unstable();
    for (number, from, to) in joined(lost) {
        let count = u64::try_from(to - from).unwrap_or(0);
        let at = record_at(&lock(origins), number, from, to);
        let what = if count == 1 {
            "a row of bronze is"
        } else {
            "rows of bronze are"
        };
        let what = format!("{what} neither in silver nor in quarantine, and no kept row is equal");
        differ(
            report,
            count,
            Difference {
                check: "silver_missing",
                table: "silver.trades".into(),
                at,
                what,
            },
        );
    }
    Ok(explained)
}

fn joined(sorted: Runs) -> Vec<(usize, i64, i64)> {
    let mut joined: Vec<(usize, i64, i64)> = Vec::new();
    for (number, from, to) in sorted.0 {
        match joined.last_mut() {
            Some((last, _, end)) if *last == number && *end == from => *end = to,
            _ => joined.push((number, from, to)),
        }
    }
    joined
}

fn in_pieces(batches: Vec<RecordBatch>, schema: &SchemaRef, rows: usize) -> Result<Vec<RecordBatch>> {
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let whole = concat_batches(schema, &batches).step("put rows together that silver lacks")?;
    let rows = rows.max(1);
    Ok((0..whole.num_rows().div_ceil(rows))
        .map(|piece| whole.slice(piece * rows, rows.min(whole.num_rows() - piece * rows)))
        .collect())
}

/// The rows of `piece` without an equal row in the kept tables, in bronze's columns.
async fn unexplained(piece: &RecordBatch, kept: &Kept<'_>, options: &VerifyOptions) -> Result<RecordBatch> {
    let judged = options.rules.judge(piece)?;
    let broken: HashSet<usize> = judged.broken.iter().map(|broken| broken.row as usize).collect();
    let valid_rows: Vec<usize> = (0..piece.num_rows()).filter(|row| !broken.contains(row)).collect();
    let (silver, silver_adds) = &kept.silver;
    let trades = rows::valid(piece, &judged, &silver.spec().row_schema())?;
    let mut repeats = vec![false; piece.num_rows()];
    if trades.num_rows() > 0 {
        let (first, last) = span(&trades)?;
        let wanted = absent_rows(&trades)?;
        let mut tables = vec![(*silver, of_span(silver, silver_adds, first, last))];
        tables.extend(
            kept.quarantine
                .as_ref()
                .map(|(table, adds)| (*table, of_span(table, adds, first, last))),
        );
        for row in equal_rows(wanted, &tables, options).await? {
            if let Some(row) = valid_rows.get(row) {
                repeats[*row] = true;
            }
        }
    }
    let alone: BooleanArray = repeats.into_iter().map(|repeats| Some(!repeats)).collect();
    filter_record_batch(piece, &alone).step("pick rows that nothing explains")
}

fn span(trades: &RecordBatch) -> Result<(i64, i64)> {
    let ts = micros(trades, "ts")?.values();
    Ok((
        ts.iter().copied().min().unwrap_or(i64::MAX),
        ts.iter().copied().max().unwrap_or(i64::MIN),
    ))
}

/// Files that may hold a trade of the span: a repeat has the same ts.
fn of_span(table: &Table, adds: &[Add], first: i64, last: i64) -> Vec<Arc<DataFile>> {
    adds.iter()
        .map(|add| DataFile::new(add.clone(), table.spec()))
        .filter(|file| {
            let (from, to) = file.micros("ts");
            from <= last && first <= to
        })
        .map(Arc::new)
        .collect()
}

/// The trades with their number, and price and qty as quarantine spells them.
fn absent_rows(trades: &RecordBatch) -> Result<RecordBatch> {
    let (price, qty, side) = (
        decimals(trades, "price")?,
        decimals(trades, "qty")?,
        strings(trades, "side")?,
    );
    let texts = |values: &arrow::array::Decimal128Array, scale: u8| {
        Arc::new(StringArray::from_iter_values(
            values.values().iter().map(|value| plain(*value, scale)),
        ))
    };
    let number = arrow::array::Int64Array::from_iter_values(0..trades.num_rows() as i64);
    let side = StringArray::from_iter_values((0..trades.num_rows()).map(|row| text(side, row).unwrap_or("")));
    let mut columns: Vec<(&str, arrow::array::ArrayRef)> = vec![
        ("number", Arc::new(number)),
        ("price_text", texts(price, PRICE.1)),
        ("qty_text", texts(qty, QTY.1)),
        ("side", Arc::new(side)),
    ];
    for name in ["venue", "symbol", "kind", "trade_id", "price", "qty", "ts"] {
        let column = trades
            .column_by_name(name)
            .ok_or_else(|| Error::Internal(format!("trades without a column {name}")))?;
        columns.push((name, column.clone()));
    }
    RecordBatch::try_from_iter(columns).step("prepare the search for repeats")
}

/// Numbers of the rows that some row of the tables equals.
async fn equal_rows(
    wanted: RecordBatch,
    tables: &[(&Table, Vec<Arc<DataFile>>)],
    options: &VerifyOptions,
) -> Result<Vec<usize>> {
    let step = "look for the rows that others repeat";
    let mut found = Vec::new();
    for (table, files) in tables {
        if files.is_empty() {
            continue;
        }
        let runtime = RuntimeEnvBuilder::new().build_arc().step(step)?;
        let context = session::session(runtime, session::config(options.files_at_once), &[table]).step(step)?;
        let absent = MemTable::try_new(wanted.schema(), vec![vec![wanted.clone()]]).step(step)?;
        context.register_table("absent", Arc::new(absent)).step(step)?;
        let kept = OrderedScan::new((*table).clone(), files.clone()).step(step)?;
        context.register_table("kept", Arc::new(kept)).step(step)?;
        let model = if table.spec().schema.field_with_name("rule").is_ok() {
            models::REPEATS_IN_QUARANTINE
        } else {
            models::REPEATS_IN_SILVER
        };
        for batch in context.sql(model).await.step(step)?.collect().await.step(step)? {
            let rows = longs(&batch, "number")?;
            found.extend(rows.values().iter().filter_map(|row| usize::try_from(*row).ok()));
        }
    }
    Ok(found)
}

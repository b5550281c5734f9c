//! The bars of one venue and symbol against candles of the same windows; each difference becomes a row of system.parity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{col, lit};
use ticklake_sql::{Lake, TableName, models};

use super::candles::Candle;
use crate::error::Step;
use crate::scan::{DataFile, OrderedScan, session};
use crate::verify::Snapshot;
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub struct ParityOptions {
    /// File or address that the candles came from, as system.parity shows it.
    pub source: String,
    pub venue: String,
    pub symbol: String,
    /// As in the name of the gold table.
    pub interval: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// Microseconds since the epoch, UTC.
    pub window_start_us: i64,
    /// A column of the bar, or `bar` where only one side has the window.
    pub field: String,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parity {
    pub candles: u64,
    pub differences: Vec<FieldDifference>,
}

impl Parity {
    /// Differences by field.
    pub fn by_field(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for difference in &self.differences {
            *counts.entry(difference.field.as_str()).or_insert(0) += 1;
        }
        counts
    }

    /// Candles of which none of `fields` differs from our bar.
    pub fn equal_on(&self, fields: &[&str]) -> u64 {
        let differs = |difference: &&FieldDifference| {
            fields.contains(&difference.field.as_str()) || (difference.field == "bar" && difference.ours.is_none())
        };
        let windows: BTreeSet<i64> = self
            .differences
            .iter()
            .filter(differs)
            .map(|difference| difference.window_start_us)
            .collect();
        self.candles - windows.len() as u64
    }
}

/// Compares the closed bars within the candles' span, and commits the outcome to system.parity.
pub async fn parity(lake: &Lake, candles: &[Candle], options: &ParityOptions) -> Result<Parity> {
    let (Some(first), Some(last)) = (candles.first(), candles.last()) else {
        return Err(Error::Invalid(format!(
            "{} holds no candle with trades",
            options.source
        )));
    };
    let name = TableName::gold_ohlcv(&options.interval);
    let gold = Snapshot::newest(lake, &name).await?.ok_or_else(|| {
        Error::Invalid(format!(
            "there is no table {name}: add the interval to jobs.intervals and refresh gold first"
        ))
    })?;
    let step = "compare bars with candles";
    let files = gold
        .adds
        .iter()
        .map(|add| DataFile::new(add.clone(), gold.table.spec()));
    let files: Vec<_> = files
        .filter(|file| {
            let (from, to) = file.micros("window_start");
            from <= last.start_us && first.start_us <= to && file.may_hold("symbol", &options.symbol)
        })
        .map(Arc::new)
        .collect();
    let runtime = RuntimeEnvBuilder::new().build_arc().step(step)?;
    let context = session::session(runtime, session::config(1), &[&gold.table]).step(step)?;
    let micros = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    let bars = context
        .read_table(Arc::new(OrderedScan::new(gold.table.clone(), files).step(step)?))
        .and_then(|bars| bars.filter(col("venue").eq(lit(options.venue.as_str()))))
        .and_then(|bars| bars.filter(col("symbol").eq(lit(options.symbol.as_str()))))
        .and_then(|bars| bars.filter(col("window_start").between(micros(first.start_us), micros(last.start_us))))
        .step(step)?;
    context.register_table("bars", bars.into_view()).step(step)?;
    let batch = batch(candles)?;
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).step(step)?;
    context.register_table("candles", Arc::new(table)).step(step)?;
    let found = context
        .sql(models::PARITY)
        .await
        .step(step)?
        .collect()
        .await
        .step(step)?;
    let mut parity = Parity {
        candles: candles.len() as u64,
        differences: Vec::new(),
    };
    for batch in &found {
        parity.differences.extend(differences(batch)?);
    }
    record(lake, options, &parity).await?;
    Ok(parity)
}

fn batch(candles: &[Candle]) -> Result<RecordBatch> {
    let step = "bring candles into columns";
    let decimal = |value: &dyn Fn(&Candle) -> Option<i128>, precision, scale| -> Result<ArrayRef> {
        let column: Decimal128Array = candles.iter().map(value).collect();
        Ok(Arc::new(column.with_precision_and_scale(precision, scale).step(step)?))
    };
    let start = TimestampMicrosecondArray::from_iter_values(candles.iter().map(|candle| candle.start_us));
    let count: Int64Array = candles.iter().map(|candle| candle.trade_count).collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("window_start", Arc::new(start.with_timezone("UTC")), false),
        ("open", decimal(&|candle| Some(candle.open), 28, 12)?, false),
        ("high", decimal(&|candle| Some(candle.high), 28, 12)?, false),
        ("low", decimal(&|candle| Some(candle.low), 28, 12)?, false),
        ("close", decimal(&|candle| Some(candle.close), 28, 12)?, false),
        ("volume", decimal(&|candle| Some(candle.volume), 38, 10)?, false),
        ("quote_volume", decimal(&|candle| candle.quote_volume, 38, 22)?, true),
        ("trade_count", Arc::new(count), true),
        (
            "taker_buy_volume",
            decimal(&|candle| candle.taker_buy_volume, 38, 10)?,
            true,
        ),
        (
            "taker_buy_quote_volume",
            decimal(&|candle| candle.taker_buy_quote_volume, 38, 22)?,
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).step(step)
}

fn differences(batch: &RecordBatch) -> Result<Vec<FieldDifference>> {
    let step = "read the differences to candles";
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let start = cast(batch.column(0), &micros).step(step)?;
    let start = start.as_primitive::<TimestampMicrosecondType>();
    let text = |column: usize| cast(batch.column(column), &DataType::Utf8).step(step);
    let (fields, ours, theirs) = (text(1)?, text(2)?, text(3)?);
    let value = |column: &ArrayRef, row: usize| {
        let column = column.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    Ok((0..batch.num_rows())
        .map(|row| FieldDifference {
            window_start_us: start.value(row),
            field: value(&fields, row).unwrap_or_default(),
            ours: value(&ours, row),
            theirs: value(&theirs, row),
        })
        .collect())
}

/// One row a difference, or one that says that there is none.
async fn record(lake: &Lake, options: &ParityOptions, parity: &Parity) -> Result<()> {
    let step = "record the parity of bars";
    let table = lake.create_table(&TableName::system_parity()).await.step(step)?;
    let now = lake.clock().now();
    let none = FieldDifference {
        window_start_us: 0,
        field: "none".to_owned(),
        ours: None,
        theirs: None,
    };
    let rows = match parity.differences.as_slice() {
        [] => std::slice::from_ref(&none),
        differences => differences,
    };
    let same =
        |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows.len()))) };
    let texts = |text: &dyn Fn(&FieldDifference) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let checked_at = TimestampMicrosecondArray::from_value(now.timestamp_micros(), rows.len()).with_timezone("UTC");
    let starts: TimestampMicrosecondArray = rows
        .iter()
        .map(|row| (!parity.differences.is_empty()).then_some(row.window_start_us))
        .collect();
    let candles = i64::try_from(parity.candles).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(checked_at),
        same(&options.source),
        same(&options.venue),
        same(&options.symbol),
        same(&options.interval),
        Arc::new(starts.with_timezone("UTC")),
        texts(&|row| Some(row.field.clone())),
        texts(&|row| row.ours.clone()),
        texts(&|row| row.theirs.clone()),
        Arc::new(Int64Array::from_value(candles, rows.len())),
    ];
    let batch = RecordBatch::try_new(table.spec().file_schema(), columns).step(step)?;
    crate::system::append(&table, now, batch).await
}

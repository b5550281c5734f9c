//! Bars as columns: out of the model's result, and in and out of gold's files.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Int8Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use super::bar::{Bar, Computed, Content, Key, Prices, Series, Values};
use super::calendar::Calendar;
use crate::Result;
use crate::error::Step;
use crate::ohlcv::trades::CountsFor;
use crate::ohlcv::wide::Wide;

/// Columns of bars by name, strings as views, times in microseconds.
struct Rows<'a> {
    batch: &'a RecordBatch,
}

impl Rows<'_> {
    fn column(&self, name: &str) -> Result<&ArrayRef, ArrowError> {
        self.batch
            .column_by_name(name)
            .ok_or_else(|| ArrowError::SchemaError(format!("bars without a column {name}")))
    }

    fn texts(&self, name: &str) -> Result<StringViewArray, ArrowError> {
        Ok(cast(self.column(name)?, &DataType::Utf8View)?.as_string_view().clone())
    }

    fn micros(&self, name: &str) -> Result<TimestampMicrosecondArray, ArrowError> {
        let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(cast(self.column(name)?, &wanted)?
            .as_primitive::<TimestampMicrosecondType>()
            .clone())
    }

    fn decimals(&self, name: &str) -> Result<&Decimal128Array, ArrowError> {
        self.column(name)?
            .as_primitive_opt::<Decimal128Type>()
            .ok_or_else(|| ArrowError::SchemaError(format!("{name} of bars is no decimal")))
    }

    fn integers(&self, name: &str) -> Result<&Int64Array, ArrowError> {
        self.column(name)?
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| ArrowError::SchemaError(format!("{name} of bars is no integer")))
    }

    fn booleans(&self, name: &str) -> Result<&BooleanArray, ArrowError> {
        self.column(name)?
            .as_boolean_opt()
            .ok_or_else(|| ArrowError::SchemaError(format!("{name} of bars is no boolean")))
    }

    fn keys(&self) -> Result<Vec<Key>, ArrowError> {
        let (venues, symbols, starts) = (
            self.texts("venue")?,
            self.texts("symbol")?,
            self.micros("window_start")?,
        );
        let mut texts = Texts::default();
        Ok((0..self.batch.num_rows())
            .map(|row| {
                let series = Series {
                    venue: texts.shared(venues.value(row)),
                    symbol: texts.shared(symbols.value(row)),
                };
                Key {
                    series,
                    start: starts.value(row),
                }
            })
            .collect())
    }

    /// `None` in rows without a volume: bars that were withheld.
    fn values(&self) -> Result<Vec<Option<Values>>, ArrowError> {
        let decimal = |name: &str| self.decimals(name);
        let (open, high, low, close) = (decimal("open")?, decimal("high")?, decimal("low")?, decimal("close")?);
        let (volume, quote) = (decimal("volume")?, decimal("quote_volume")?);
        let (vwap, average) = (decimal("vwap")?, decimal("avg_price")?);
        let (bought, bought_quote) = (decimal("taker_buy_volume")?, decimal("taker_buy_quote_volume")?);
        let (count, first_seq, last_seq) = (
            self.integers("trade_count")?,
            self.integers("first_seq")?,
            self.integers("last_seq")?,
        );
        let (first_ts, last_ts) = (self.micros("first_ts")?, self.micros("last_ts")?);
        let ratio = |column: &Decimal128Array, row| column.is_valid(row).then(|| column.value(row));
        Ok((0..self.batch.num_rows())
            .map(|row| {
                volume.is_valid(row).then(|| Values {
                    prices: open.is_valid(row).then(|| Prices {
                        open: open.value(row),
                        high: high.value(row),
                        low: low.value(row),
                        close: close.value(row),
                    }),
                    volume: volume.value(row),
                    quote_volume: quote.value(row),
                    vwap: ratio(vwap, row),
                    avg_price: ratio(average, row),
                    trade_count: count.value(row),
                    taker_buy_volume: bought.value(row),
                    taker_buy_quote_volume: bought_quote.value(row),
                    first_seq: first_seq.value(row),
                    last_seq: last_seq.value(row),
                    first_ts: first_ts.value(row),
                    last_ts: last_ts.value(row),
                })
            })
            .collect())
    }
}

impl Rows<'_> {
    fn computed(&self) -> Result<Vec<Computed>, ArrowError> {
        let counts = self.integers("row_count")?;
        let sums = self
            .column("price_sum")?
            .as_primitive_opt::<Decimal256Type>()
            .ok_or_else(|| ArrowError::SchemaError("price_sum of bars is no decimal".to_owned()))?;
        let priced_by = self
            .column("priced_by")?
            .as_primitive_opt::<Int8Type>()
            .ok_or_else(|| ArrowError::SchemaError("priced_by of bars is no small integer".to_owned()))?;
        let price_sum = |row| sums.is_valid(row).then(|| Wide::from_i256(sums.value(row))).flatten();
        let bars = self.keys()?.into_iter().zip(self.values()?).enumerate();
        let rows = |row| if counts.is_null(row) { 0 } else { counts.value(row) };
        Ok(bars
            .map(|(row, (key, values))| Computed {
                key,
                values,
                price_sum: price_sum(row),
                // A bar that is withheld says nothing.
                priced_by: CountsFor::of_rank(priced_by.value(row)).unwrap_or_default(),
                rows: rows(row),
            })
            .collect())
    }

    fn stored(&self) -> Result<Vec<(Key, Bar)>, ArrowError> {
        let (closed, complete) = (self.booleans("is_closed")?, self.booleans("is_complete")?);
        let (revision, computed_at) = (self.integers("revision")?, self.micros("computed_at")?);
        let bars = self.keys()?.into_iter().zip(self.values()?).enumerate();
        Ok(bars
            .filter_map(|(row, (key, values))| {
                let is_complete = complete.is_valid(row).then(|| complete.value(row));
                let content = Content {
                    values: values?,
                    is_closed: closed.value(row),
                    is_complete,
                };
                Some((
                    key,
                    Bar {
                        content,
                        revision: revision.value(row),
                        computed_at: computed_at.value(row),
                        is_committed: true,
                    },
                ))
            })
            .collect())
    }
}

/// One allocation a text, not one a row.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.0.insert(text.clone());
        text
    }
}

/// Rows of the model's result.
pub fn computed(batch: &RecordBatch) -> Result<Vec<Computed>> {
    Rows { batch }.computed().step("read the bars of the model")
}

/// Rows of gold's files.
pub fn stored(batch: &RecordBatch) -> Result<Vec<(Key, Bar)>> {
    Rows { batch }.stored().step("read the bars of a file")
}

/// Rows for a file of gold, in the order given. `schema`: the table's file schema.
pub fn encode(bars: &[(&Key, &Bar)], calendar: &Calendar, schema: &SchemaRef) -> Result<RecordBatch> {
    encode_with(bars, calendar, schema, &|_| None)
}

/// Rows for a file of earlier states, which something else took the place of at `superseded_at`.
pub fn encode_superseded(
    bars: &[(&Key, &Bar)],
    calendar: &Calendar,
    schema: &SchemaRef,
    interval_name: &str,
    superseded_at: i64,
) -> Result<RecordBatch> {
    let rows = bars.len();
    encode_with(bars, calendar, schema, &|column| match column {
        "bar_interval" => Some(Arc::new(StringArray::from_iter_values(vec![interval_name; rows]))),
        "superseded_at" => Some(Arc::new(
            TimestampMicrosecondArray::from_value(superseded_at, rows).with_timezone("UTC"),
        )),
        _ => None,
    })
}

/// `given`: columns that the bars do not hold themselves.
fn encode_with(
    bars: &[(&Key, &Bar)],
    calendar: &Calendar,
    schema: &SchemaRef,
    given: &dyn Fn(&str) -> Option<ArrayRef>,
) -> Result<RecordBatch> {
    let values = |value: &dyn Fn(&Values) -> Option<i128>, data_type: &DataType| -> ArrayRef {
        let column: Decimal128Array = bars.iter().map(|(_, bar)| value(&bar.content.values)).collect();
        Arc::new(column.with_data_type(data_type.clone()))
    };
    let integers = |value: &dyn Fn(&Bar) -> i64| -> ArrayRef {
        Arc::new(bars.iter().map(|(_, bar)| Some(value(bar))).collect::<Int64Array>())
    };
    let texts = |text: &dyn Fn(&Key) -> Arc<str>| -> ArrayRef {
        Arc::new(bars.iter().map(|(key, _)| Some(text(key))).collect::<StringArray>())
    };
    let micros = |value: &dyn Fn(&Key, &Bar) -> i64| -> ArrayRef {
        let column: TimestampMicrosecondArray = bars.iter().map(|(key, bar)| Some(value(key, bar))).collect();
        Arc::new(column.with_timezone("UTC"))
    };
    let booleans = |value: &dyn Fn(&Content) -> Option<bool>| -> ArrayRef {
        Arc::new(
            bars.iter()
                .map(|(_, bar)| value(&bar.content))
                .collect::<BooleanArray>(),
        )
    };
    let column = |field: &arrow::datatypes::FieldRef| -> Result<ArrayRef, ArrowError> {
        let decimal = |value: &dyn Fn(&Values) -> Option<i128>| values(value, field.data_type());
        if let Some(column) = given(field.name()) {
            return Ok(column);
        }
        Ok(match field.name().as_str() {
            "venue" => texts(&|key| key.series.venue.clone()),
            "symbol" => texts(&|key| key.series.symbol.clone()),
            "window_start" => micros(&|key, _| key.start),
            "window_end" => micros(&|key, _| calendar.end_of(&key.series.venue, key.start)),
            "open" => decimal(&|values| values.prices.map(|prices| prices.open)),
            "high" => decimal(&|values| values.prices.map(|prices| prices.high)),
            "low" => decimal(&|values| values.prices.map(|prices| prices.low)),
            "close" => decimal(&|values| values.prices.map(|prices| prices.close)),
            "volume" => decimal(&|values| Some(values.volume)),
            "quote_volume" => decimal(&|values| Some(values.quote_volume)),
            "vwap" => decimal(&|values| values.vwap),
            "avg_price" => decimal(&|values| values.avg_price),
            "trade_count" => integers(&|bar| bar.content.values.trade_count),
            "taker_buy_volume" => decimal(&|values| Some(values.taker_buy_volume)),
            "taker_buy_quote_volume" => decimal(&|values| Some(values.taker_buy_quote_volume)),
            "first_seq" => integers(&|bar| bar.content.values.first_seq),
            "last_seq" => integers(&|bar| bar.content.values.last_seq),
            "first_ts" => micros(&|_, bar| bar.content.values.first_ts),
            "last_ts" => micros(&|_, bar| bar.content.values.last_ts),
            "is_closed" => booleans(&|content| Some(content.is_closed)),
            "is_complete" => booleans(&|content| content.is_complete),
            "revision" => integers(&|bar| bar.revision),
            "computed_at" => micros(&|_, bar| bar.computed_at),
            other => {
                return Err(ArrowError::SchemaError(format!(
                    "gold has a column {other} that no bar fills"
                )));
            }
        })
    };
    let columns: Result<Vec<ArrayRef>, ArrowError> = schema.fields().iter().map(column).collect();
    columns
        .and_then(|columns| RecordBatch::try_new(schema.clone(), columns))
        .step("encode bars")
}

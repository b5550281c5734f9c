//! A finished bar as one struct value. A bar whose sums do not fit their columns is NULL: withheld, for the caller to report.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, Decimal256Builder, Int8Builder, Int64Builder, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Field, Fields, TimeUnit};
use datafusion::common::{Result, internal_err};

use super::bar::Bar;
use super::trades::{CountsFor, PRICE_PRECISION, PRICE_SCALE, QTY_SCALE};
use super::wide::divide_half_even;

const PRECISION: u8 = 38;
const PRICE: DataType = DataType::Decimal128(PRICE_PRECISION, PRICE_SCALE);
const VOLUME: DataType = DataType::Decimal128(PRECISION, QTY_SCALE);
const QUOTE: DataType = DataType::Decimal128(PRECISION, PRICE_SCALE + QTY_SCALE);
/// quote / volume is at the scale of a price already, and so is the sum of prices over a count: no scaling before the one division.
const RATIO: DataType = DataType::Decimal128(PRECISION, PRICE_SCALE);

/// What `avg_price` is divided from: any sum fits.
const PRICE_SUM: DataType = DataType::Decimal256(DECIMAL256_MAX_PRECISION, PRICE_SCALE);

/// Fields of the struct, named and typed as the columns of gold. Open, high, low and close are NULL where every trade counts for volume only.
/// `row_count` is the number of trades, where `trade_count` is that of fills; `price_sum` and `priced_by` (the most that a trade counts for:
/// 0 volume, 1 range, 2 price) are what bars of longer windows are made from.
pub fn fields(ts: &DataType) -> Fields {
    let columns = [
        ("open", PRICE),
        ("high", PRICE),
        ("low", PRICE),
        ("close", PRICE),
        ("volume", VOLUME),
        ("quote_volume", QUOTE),
        ("vwap", RATIO),
        ("avg_price", RATIO),
        ("trade_count", DataType::Int64),
        ("taker_buy_volume", VOLUME),
        ("taker_buy_quote_volume", QUOTE),
        ("first_seq", DataType::Int64),
        ("last_seq", DataType::Int64),
        ("first_ts", ts.clone()),
        ("last_ts", ts.clone()),
        ("row_count", DataType::Int64),
        ("price_sum", PRICE_SUM),
        ("priced_by", DataType::Int8),
    ];
    columns
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect()
}

/// The values of one bar that fits.
struct Values {
    volume: i128,
    quote: i128,
    vwap: Option<i128>,
    avg_price: Option<i128>,
    fills: i64,
    bought_volume: i128,
    bought_quote: i128,
}

fn values(bar: &Bar) -> Option<Values> {
    if bar.rows == 0 || bar.overflowed {
        return None;
    }
    let volume = bar.volume.to_decimal38()?;
    let is_traded = volume != 0;
    Some(Values {
        volume,
        quote: bar.quote.to_decimal38()?,
        vwap: if is_traded {
            Some(divide_half_even(bar.quote, bar.volume)?)
        } else {
            None
        },
        avg_price: if is_traded {
            divide_half_even(bar.prices, bar.fills)
        } else {
            None
        },
        fills: i64::try_from(bar.fills.to_decimal38()?).ok()?,
        bought_volume: bar.bought_volume.to_decimal38()?,
        bought_quote: bar.bought_quote.to_decimal38()?,
    })
}

/// One struct a bar; `ts` is the type of the timestamps that came in.
pub fn finish(bars: &[Bar], ts: &DataType) -> Result<StructArray> {
    let DataType::Timestamp(TimeUnit::Microsecond, _) = ts else {
        return internal_err!("ohlcv was planned with {ts} as ts");
    };
    let finished: Vec<Option<Values>> = bars.iter().map(values).collect();
    let decimals = |data_type: &DataType, value: &dyn Fn(&Bar, &Values) -> Option<i128>| -> ArrayRef {
        let mut column = Decimal128Builder::with_capacity(bars.len()).with_data_type(data_type.clone());
        bars.iter()
            .zip(&finished)
            .for_each(|(bar, values)| column.append_option(values.as_ref().and_then(|values| value(bar, values))));
        Arc::new(column.finish())
    };
    let integers = |value: &dyn Fn(&Bar, &Values) -> i64| -> ArrayRef {
        let mut column = Int64Builder::with_capacity(bars.len());
        bars.iter()
            .zip(&finished)
            .for_each(|(bar, values)| column.append_option(values.as_ref().map(|values| value(bar, values))));
        Arc::new(column.finish())
    };
    let timestamps = |value: &dyn Fn(&Bar) -> i64| -> ArrayRef {
        let mut column = TimestampMicrosecondBuilder::with_capacity(bars.len()).with_data_type(ts.clone());
        bars.iter()
            .zip(&finished)
            .for_each(|(bar, values)| column.append_option(values.as_ref().map(|_| value(bar))));
        Arc::new(column.finish())
    };
    let mut price_sums = Decimal256Builder::with_capacity(bars.len()).with_data_type(PRICE_SUM);
    bars.iter()
        .zip(&finished)
        .for_each(|(bar, values)| price_sums.append_option(values.as_ref().map(|_| bar.prices.to_i256())));
    let mut priced_by = Int8Builder::with_capacity(bars.len());
    bars.iter()
        .zip(&finished)
        .for_each(|(bar, values)| priced_by.append_option(values.as_ref().map(|_| bar.priced_by.rank())));
    let prices = |price: &dyn Fn(&Bar) -> i128| {
        decimals(&PRICE, &|bar, _| {
            (bar.priced_by > CountsFor::Volume).then(|| price(bar))
        })
    };
    let columns = vec![
        prices(&|bar| bar.open.price),
        prices(&|bar| bar.high),
        prices(&|bar| bar.low),
        prices(&|bar| bar.close.price),
        decimals(&VOLUME, &|_, values| Some(values.volume)),
        decimals(&QUOTE, &|_, values| Some(values.quote)),
        decimals(&RATIO, &|_, values| values.vwap),
        decimals(&RATIO, &|_, values| values.avg_price),
        integers(&|_, values| values.fills),
        decimals(&VOLUME, &|_, values| Some(values.bought_volume)),
        decimals(&QUOTE, &|_, values| Some(values.bought_quote)),
        integers(&|bar, _| bar.first.1),
        integers(&|bar, _| bar.last.1),
        timestamps(&|bar| bar.first.0),
        timestamps(&|bar| bar.last.0),
        integers(&|bar, _| bar.rows),
        Arc::new(price_sums.finish()),
        Arc::new(priced_by.finish()),
    ];
    let nulls: NullBuffer = finished.iter().map(Option::is_some).collect();
    Ok(StructArray::try_new(
        fields(ts),
        columns,
        Some(nulls).filter(|nulls| nulls.null_count() > 0),
    )?)
}

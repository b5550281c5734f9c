//! Minutes of US equities as they lie beside the ticks that backfill reads as `us-equities-ticks`, SYMBOL_minute_YYYYMMDD.zip: milliseconds since
//! midnight in New York (wall clock), open, high, low and close x 10,000, volume. No header.

use chrono::{NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::America::New_York;
use ticklake_sql::decimal;

use super::candles::Candle;
use crate::{Error, Result};

/// Of `date` in New York; those without volume are left out.
pub fn parse(text: &str, date: NaiveDate) -> Result<Vec<Candle>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let candles = lines.map(|(number, line)| {
        candle(line, date).ok_or_else(|| {
            Error::Invalid(format!(
                "row {} of the candles: {line:?} is no ms,open,high,low,close,volume of {date}",
                number + 1
            ))
        })
    });
    let mut candles: Vec<Candle> = candles.collect::<Result<_>>()?;
    candles.retain(|candle| candle.volume != 0);
    candles.sort_by_key(|candle| candle.start_us);
    Ok(candles)
}

fn candle(line: &str, date: NaiveDate) -> Option<Candle> {
    let values: Vec<&str> = line.split(',').map(str::trim).collect();
    let [ms, open, high, low, close, volume] = values.as_slice() else {
        return None;
    };
    let since_midnight = TimeDelta::try_milliseconds(ms.parse().ok()?)?;
    let wall_clock = date.and_time(NaiveTime::MIN).checked_add_signed(since_midnight)?;
    let price = |text: &str| decimal::parse(&format!("{text}e-4"), 28, 12).ok();
    Some(Candle {
        start_us: New_York.from_local_datetime(&wall_clock).earliest()?.timestamp_micros(),
        open: price(open)?,
        high: price(high)?,
        low: price(low)?,
        close: price(close)?,
        volume: decimal::parse(volume, 38, 10).ok()?,
        quote_volume: None,
        trade_count: None,
        taker_buy_volume: None,
        taker_buy_quote_volume: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_is_new_york_s() {
        let day = |text: &str| text.parse().unwrap();
        let check = |date: &str, start_us: i64| {
            let candles = parse("34200000,139100,139100,139000.5,139000,1603235\n", day(date)).unwrap();
            assert_eq!(candles.len(), 1);
            assert_eq!(
                (candles[0].start_us, candles[0].low),
                (start_us, 13_900_050_000_000),
                "{date}"
            );
        };
        check("2013-10-07", 1_381_152_600_000_000);
        check("2013-12-06", 1_386_340_200_000_000);
        for wrong in ["1,2,3", "x,1,1,1,1,1", "34200000,1,1,1,1.00000000001,1"] {
            assert!(parse(wrong, day("2013-10-07")).is_err(), "{wrong}");
        }
    }
}

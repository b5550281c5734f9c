//! Candles as venues publish them: CSV or JSON rows of Binance's twelve columns or of time, open, high, low, close, volume; and CSV with a header,
//! in any order. Numbers stay text until they are exact decimals.
//!
//! Binance: <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data>.
//! Coinbase puts low before high and open: <https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles>.

use serde_json::value::RawValue;
use ticklake_sql::decimal;

use crate::{Error, Result};

/// What a venue says of one window. Decimals unscaled as in gold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candle {
    /// Microseconds since the epoch, UTC.
    pub start_us: i64,
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: i128,
    /// `None` where the venue does not tell.
    pub quote_volume: Option<i128>,
    pub trade_count: Option<i64>,
    pub taker_buy_volume: Option<i128>,
    pub taker_buy_quote_volume: Option<i128>,
}

const PRICE: (u8, u8) = (28, 12);
const VOLUME: (u8, u8) = (38, 10);
const QUOTE: (u8, u8) = (38, 22);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    Open,
    High,
    Low,
    Close,
    Volume,
    QuoteVolume,
    TradeCount,
    TakerBuyVolume,
    TakerBuyQuoteVolume,
    Ignored,
}

use Field::{
    Close, High, Ignored, Low, Open, QuoteVolume, Start, TakerBuyQuoteVolume, TakerBuyVolume, TradeCount, Volume,
};

/// Binance's columns: open time, prices, volume, close time, quote volume, count, taker-buy base and quote, one to ignore.
const BINANCE: [Field; 12] = [
    Start,
    Open,
    High,
    Low,
    Close,
    Volume,
    Ignored,
    QuoteVolume,
    TradeCount,
    TakerBuyVolume,
    TakerBuyQuoteVolume,
    Ignored,
];
const COINBASE_JSON: [Field; 6] = [Start, Low, High, Open, Close, Volume];
const PLAIN_CSV: [Field; 6] = [Start, Open, High, Low, Close, Volume];

/// Names of columns in a header, in lower case without separators.
const NAMES: [(&str, Field); 24] = [
    ("windowstart", Start),
    ("opentime", Start),
    ("time", Start),
    ("timestamp", Start),
    ("ts", Start),
    ("open", Open),
    ("high", High),
    ("low", Low),
    ("close", Close),
    ("volume", Volume),
    ("basevolume", Volume),
    ("quotevolume", QuoteVolume),
    ("quoteassetvolume", QuoteVolume),
    ("count", TradeCount),
    ("trades", TradeCount),
    ("tradecount", TradeCount),
    ("numberoftrades", TradeCount),
    ("takerbuyvolume", TakerBuyVolume),
    ("takerbuybasevolume", TakerBuyVolume),
    ("takerbuybaseassetvolume", TakerBuyVolume),
    ("takerbuyquotevolume", TakerBuyQuoteVolume),
    ("takerbuyquoteassetvolume", TakerBuyQuoteVolume),
    ("closetime", Ignored),
    ("ignore", Ignored),
];

/// The candles of a file, those without a trade left out: gold stores traded windows only.
pub fn parse(text: &str) -> Result<Vec<Candle>> {
    let mut candles = if text.trim_start().starts_with('[') {
        json(text)?
    } else {
        csv(text)?
    };
    candles.retain(|candle| candle.volume != 0 && candle.trade_count != Some(0));
    candles.sort_by_key(|candle| candle.start_us);
    Ok(candles)
}

fn json(text: &str) -> Result<Vec<Candle>> {
    let rows: Vec<Vec<&RawValue>> =
        serde_json::from_str(text).map_err(|error| Error::Invalid(format!("the candles are no JSON rows: {error}")))?;
    rows.iter()
        .enumerate()
        .map(|(number, row)| {
            let values: Vec<&str> = row.iter().map(|value| value.get().trim_matches('"')).collect();
            let fields: &[Field] = match values.len() {
                12 => &BINANCE,
                6 => &COINBASE_JSON,
                other => return Err(unknown(number, other)),
            };
            candle(number, fields, &values)
        })
        .collect()
}

fn csv(text: &str) -> Result<Vec<Candle>> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .peekable();
    let mut header: Option<Vec<Field>> = None;
    if let Some((_, first)) = lines.peek()
        && first.starts_with(|c: char| c.is_alphabetic() || c == '"')
    {
        header = Some(first.split(',').map(named).collect());
        lines.next();
    }
    lines
        .map(|(number, line)| {
            let values: Vec<&str> = line.split(',').map(|value| value.trim().trim_matches('"')).collect();
            let fields: &[Field] = match (&header, values.len()) {
                (Some(header), width) if width == header.len() => header,
                (None, 12) => &BINANCE,
                (None, 6) => &PLAIN_CSV,
                (_, other) => return Err(unknown(number, other)),
            };
            candle(number, fields, &values)
        })
        .collect()
}

fn named(column: &str) -> Field {
    let name: String = column.chars().filter(char::is_ascii_alphanumeric).collect();
    let name = name.to_ascii_lowercase();
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(Ignored, |(_, field)| *field)
}

fn unknown(number: usize, columns: usize) -> Error {
    Error::Invalid(format!(
        "row {} of the candles has {columns} columns: give 12 as Binance does, 6 as time, open, high, low, close, volume, or a header",
        number + 1
    ))
}

fn candle(number: usize, fields: &[Field], values: &[&str]) -> Result<Candle> {
    let wrong = |what: &str, value: &str| {
        Error::Invalid(format!(
            "row {} of the candles: {what} {value:?} is not exact",
            number + 1
        ))
    };
    let value = |field: Field| {
        let at = fields.iter().position(|known| *known == field);
        at.and_then(|at| values.get(at))
            .copied()
            .filter(|value| !value.is_empty())
    };
    let maybe = |field, what, (precision, scale): (u8, u8)| match value(field) {
        Some(text) => decimal::parse(text, precision, scale)
            .map(Some)
            .map_err(|_| wrong(what, text)),
        None => Ok(None),
    };
    let given = |field, what, of| maybe(field, what, of)?.ok_or_else(|| wrong(what, ""));
    let start = value(Start).ok_or_else(|| wrong("time", ""))?;
    let count = match value(TradeCount) {
        Some(text) => Some(text.parse().map_err(|_| wrong("count", text))?),
        None => None,
    };
    Ok(Candle {
        start_us: micros(start).ok_or_else(|| wrong("time", start))?,
        open: given(Open, "open", PRICE)?,
        high: given(High, "high", PRICE)?,
        low: given(Low, "low", PRICE)?,
        close: given(Close, "close", PRICE)?,
        volume: given(Volume, "volume", VOLUME)?,
        quote_volume: maybe(QuoteVolume, "quote volume", QUOTE)?,
        trade_count: count,
        taker_buy_volume: maybe(TakerBuyVolume, "taker-buy volume", VOLUME)?,
        taker_buy_quote_volume: maybe(TakerBuyQuoteVolume, "taker-buy quote volume", QUOTE)?,
    })
}

/// Seconds, milliseconds or microseconds by their number of digits; or RFC 3339.
fn micros(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return match text.len() {
            0..=11 => number.checked_mul(1_000_000),
            12..=14 => number.checked_mul(1_000),
            _ => Some(number),
        };
    }
    let time = chrono::DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok()?;
    Some(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: i64 = 1_742_943_600_000_000;

    #[test]
    fn the_same_candle_in_each_form() {
        let whole = parse("1742943600000000,1,2.5,0.5,2,10,1742943659999999,15,3,4,6,0\n").unwrap();
        assert_eq!(whole.len(), 1);
        let candle = &whole[0];
        assert_eq!((candle.start_us, candle.trade_count), (START_US, Some(3)));
        assert_eq!(candle.high, 2_500_000_000_000);
        assert_eq!(candle.quote_volume, Some(15 * 10i128.pow(22)));
        let json = r#"[[1742943600000,"1","2.5","0.5","2.000","10",1742943659999,"15.0",3,"4","6","0"]]"#;
        assert_eq!(parse(json).unwrap(), whole);
        let header =
            "open_time,high,low,open,close,volume,count,quote_volume,taker_buy_volume,taker_buy_quote_volume,x\n";
        let row = "2025-03-25T23:00:00Z,2.5,0.5,1,2,10,3,15,4,6,y\n";
        assert_eq!(parse(&format!("{header}{row}")).unwrap(), whole);
    }

    #[test]
    fn six_columns_come_in_two_orders() {
        let csv = parse("1742943600,1,2.5,0.5,2,10").unwrap();
        let json = parse("[[1742943600,0.5,2.5,1,2,10]]").unwrap();
        assert_eq!(csv, json);
        assert_eq!((csv[0].start_us, csv[0].trade_count), (START_US, None));
    }

    #[test]
    fn empty_windows_are_left_out_and_nonsense_is_named() {
        assert_eq!(parse("1742943600000,1,1,1,1,0,1742943659999,0,0,0,0,0").unwrap(), []);
        for (wrong, part) in [
            ("1,2,3", "3 columns"),
            ("1742943600,1,x,0.5,2,10", "high"),
            ("1742943600,1,2,0.5,2,10.00000000001", "volume"),
            ("[[1,2]]", "2 columns"),
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}

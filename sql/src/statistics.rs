//! Statistics of a data file in Delta's JSON, from what the Parquet writer counted anyway.
//!
//! A minimum is never above the truth and a maximum never below it: cut text is rounded up, sub-millisecond time to the next millisecond.
//! Binary and list columns have no minimum; a value that readers could not parse leaves the column without one. (Delta protocol, "Per-file Statistics")

use std::collections::HashMap;
use std::fmt::Write;

use arrow::datatypes::{DataType, Schema};
use chrono::{DateTime, Datelike, NaiveDate};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

/// Characters kept of a text, as Spark's `dataSkippingStringPrefixLength`.
const TEXT_PREFIX: usize = 32;

/// `{"numRecords":..,"minValues":{..},"maxValues":{..},"nullCount":{..}}` of a file whose `nulls` were counted by column.
pub(crate) fn to_json(schema: &Schema, rows: usize, nulls: &HashMap<&str, usize>, footer: &ParquetMetaData) -> String {
    let (mut mins, mut maxs, mut counts) = (Object::default(), Object::default(), Object::default());
    for field in schema.fields() {
        if matches!(field.data_type(), DataType::List(_)) {
            continue;
        }
        if let Some(nulls) = nulls.get(field.name().as_str()) {
            counts.put(field.name(), &nulls.to_string());
        }
        let bounds = bounds(field.name(), field.data_type(), footer);
        if let Some((min, max)) = bounds.and_then(|b| b.to_json(field.data_type())) {
            mins.put(field.name(), &min);
            maxs.put(field.name(), &max);
        }
    }
    format!(
        "{{\"numRecords\":{rows},\"minValues\":{},\"maxValues\":{},\"nullCount\":{}}}",
        mins.end(),
        maxs.end(),
        counts.end()
    )
}

/// The same of a whole file, as its footer counts; nulls only of columns that it counts them of.
pub(crate) fn of_footer(schema: &Schema, footer: &ParquetMetaData) -> String {
    let rows = usize::try_from(footer.file_metadata().num_rows()).unwrap_or(0);
    let nulls = |column: &str| -> Option<usize> {
        footer.row_groups().iter().try_fold(0, |sum: usize, group| {
            let chunk = group.columns().iter().find(|c| c.column_path().string() == column)?;
            let nulls = chunk.statistics()?.null_count_opt()?;
            Some(sum + usize::try_from(nulls).ok()?)
        })
    };
    let nulls: HashMap<&str, usize> = schema
        .fields()
        .iter()
        .filter_map(|field| Some((field.name().as_str(), nulls(field.name())?)))
        .collect();
    to_json(schema, rows, &nulls, footer)
}

#[derive(Debug, Clone, PartialEq)]
enum Bounds {
    Int(i128, i128),
    Text(String, String),
}

impl Bounds {
    fn widen(self, other: Bounds) -> Option<Bounds> {
        Some(match (self, other) {
            (Bounds::Int(a, b), Bounds::Int(c, d)) => Bounds::Int(a.min(c), b.max(d)),
            (Bounds::Text(a, b), Bounds::Text(c, d)) => Bounds::Text(a.min(c), b.max(d)),
            _ => return None,
        })
    }

    fn to_json(&self, data_type: &DataType) -> Option<(String, String)> {
        match (self, data_type) {
            (Bounds::Int(min, max), DataType::Int32 | DataType::Int64) => Some((min.to_string(), max.to_string())),
            (Bounds::Int(min, max), DataType::Decimal128(_, scale)) => {
                Some((decimal(*min, *scale), decimal(*max, *scale)))
            }
            (Bounds::Int(min, max), DataType::Date32) => Some((date(*min)?, date(*max)?)),
            (Bounds::Int(min, max), DataType::Timestamp(..)) => Some((
                timestamp_ms(min.div_euclid(1000))?,
                timestamp_ms(max.div_euclid(1000) + i128::from(max.rem_euclid(1000) != 0))?,
            )),
            (Bounds::Text(min, max), DataType::Utf8) => Some((quoted(prefix(min))?, quoted(&rounded_up(max)?)?)),
            _ => None,
        }
    }
}

/// Bounds over all row groups; `None` where a row group with values does not tell.
fn bounds(column: &str, data_type: &DataType, footer: &ParquetMetaData) -> Option<Bounds> {
    let mut whole: Option<Bounds> = None;
    for group in footer.row_groups() {
        let chunk = group
            .columns()
            .iter()
            .find(|c| matches!(c.column_path().parts(), [name] if name == column))?;
        let statistics = chunk.statistics()?;
        if statistics.null_count_opt() == Some(chunk.num_values() as u64) {
            continue;
        }
        let found = chunk_bounds(statistics, data_type)?;
        whole = Some(match whole {
            Some(bounds) => bounds.widen(found)?,
            None => found,
        });
    }
    whole
}

fn chunk_bounds(statistics: &Statistics, data_type: &DataType) -> Option<Bounds> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    match (statistics, data_type) {
        (Statistics::Int32(s), _) => Some(Bounds::Int((*s.min_opt()?).into(), (*s.max_opt()?).into())),
        (Statistics::Int64(s), _) => Some(Bounds::Int((*s.min_opt()?).into(), (*s.max_opt()?).into())),
        (Statistics::FixedLenByteArray(s), DataType::Decimal128(..)) => Some(Bounds::Int(
            big_endian(s.min_opt()?.data())?,
            big_endian(s.max_opt()?.data())?,
        )),
        (Statistics::ByteArray(s), DataType::Utf8) => {
            Some(Bounds::Text(text(s.min_opt()?.data())?, text(s.max_opt()?.data())?))
        }
        _ => None,
    }
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(16usize.checked_sub(bytes.len())?..)?
        .copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// All digits, as a JSON number.
fn decimal(unscaled: i128, scale: i8) -> String {
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    match usize::try_from(scale) {
        Ok(0) | Err(_) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

fn date(days: i128) -> Option<String> {
    let date = NaiveDate::from_epoch_days(i32::try_from(days).ok()?)?;
    (1..=9999)
        .contains(&date.year())
        .then(|| format!("\"{}\"", date.format("%Y-%m-%d")))
}

fn timestamp_ms(ms: i128) -> Option<String> {
    let time = DateTime::from_timestamp_millis(i64::try_from(ms).ok()?)?;
    (1..=9999)
        .contains(&time.year())
        .then(|| format!("\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.3fZ")))
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

fn prefix(text: &str) -> &str {
    text.char_indices()
        .nth(TEXT_PREFIX)
        .map_or(text, |(end, _)| &text[..end])
}

/// The text itself, or a prefix followed by the greatest character: nothing that starts with the prefix comes after it.
fn rounded_up(text: &str) -> Option<String> {
    let mut kept = prefix(text);
    // Where the next character is the greatest itself, the prefix must take it in to stay above.
    while text[kept.len()..].starts_with(char::MAX) {
        kept = &text[..kept.len() + char::MAX.len_utf8()];
    }
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    Some(format!("{kept}{}", char::MAX))
}

#[derive(Default)]
struct Object(String);

impl Object {
    fn put(&mut self, name: &str, json: &str) {
        let separator = if self.0.is_empty() { "" } else { "," };
        // Column names are the contract's own: letters, digits, underscores.
        let _ = write!(self.0, "{separator}\"{name}\":{json}");
    }

    fn end(self) -> String {
        format!("{{{}}}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let rounded = rounded_up(text).unwrap();
        assert_eq!(rounded, expected);
        assert!(rounded.as_str() >= text);
    }

    #[test]
    fn cut_text_is_rounded_up() {
        let prefix = "x".repeat(TEXT_PREFIX);
        check("BTC-USDT", "BTC-USDT");
        check(&prefix, &prefix);
        check(&format!("{prefix}y"), &format!("{prefix}\u{10FFFF}"));
        check(
            &format!("{prefix}\u{10FFFF}y"),
            &format!("{prefix}\u{10FFFF}\u{10FFFF}"),
        );
        check(&format!("{prefix}\u{10FFFF}"), &format!("{prefix}\u{10FFFF}"));
    }

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal(-5, 3), "-0.005");
        assert_eq!(decimal(64_231_120, 3), "64231.120");
        assert_eq!(decimal(0, 10), "0.0000000000");
        assert_eq!(decimal(7, 0), "7");
    }

    #[test]
    fn times_beyond_the_calendar_have_no_text() {
        assert_eq!(timestamp_ms(1_795_258_800_123).unwrap(), "\"2026-11-21T11:00:00.123Z\"");
        assert_eq!(timestamp_ms(-1).unwrap(), "\"1969-12-31T23:59:59.999Z\"");
        assert_eq!(timestamp_ms(253_402_300_800_000), None);
        assert_eq!(date(i128::from(i32::MAX)), None);
    }
}

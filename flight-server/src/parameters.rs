//! Bound values of a prepared statement: from the wire by position, to literals of the types that the plan expects.
//!
//! Column names say nothing (ADBC sends `0`, `1`, ...; flightsql-dbapi a dense union each), order does.

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};
use crate::output;
use crate::profile::Profile;

/// Bound values as they travel in handles and tickets, which must fit a message of the strictest drivers' size (16 MiB).
const MAX_ENCODED_BYTES: usize = 8 << 20;

/// The schema that CreatePreparedStatement announces: one field a parameter, text where the plan cannot tell. Decimals
/// are announced as text too: JDBC takes a BigDecimal for a decimal column only if it has just that column's scale.
/// Times are announced in milliseconds: JDBC writes those whatever the unit, and would bind the year 1970.
pub fn schema(types: &[Option<DataType>]) -> SchemaRef {
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(i, expected)| Field::new(format!("${}", i + 1), announced(expected.as_ref()), true))
        .collect();
    std::sync::Arc::new(Schema::new(fields))
}

fn announced(expected: Option<&DataType>) -> DataType {
    match expected {
        None | Some(DataType::Null | DataType::Interval(_)) => DataType::Utf8,
        Some(DataType::Timestamp(_, zone)) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        Some(other) => match output::data_type(other, Profile::default()) {
            DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => DataType::Utf8,
            plain => plain,
        },
    }
}

pub fn encode(batches: &[RecordBatch]) -> Result<Bytes> {
    let Some(first) = batches.first() else {
        return Ok(Bytes::new());
    };
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    if out.len() > MAX_ENCODED_BYTES {
        return Err(Error::Parameter(format!(
            "{} bytes of values, {MAX_ENCODED_BYTES} are taken; bind fewer at once",
            out.len()
        )));
    }
    Ok(out.into())
}

pub fn decode(bytes: &[u8]) -> Result<Vec<RecordBatch>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let bad = |error| Error::Parameter(format!("not an Arrow stream: {error}"));
    StreamReader::try_new(bytes, None)
        .map_err(bad)?
        .map(|batch| batch.map_err(bad))
        .collect()
}

/// `row` as the types that the plan expects. A number that would lose digits, or a time that would lose its hour, keeps its own type: the
/// engine then widens the other side. Text that does not read as the expected type is an error, and so is a timestamp finer than the
/// expected one, which the engine would cut.
pub fn fit(row: &[ScalarValue], types: &[Option<DataType>]) -> Result<Vec<ScalarValue>> {
    row.iter()
        .zip(types)
        .enumerate()
        .map(|(i, (value, expected))| fit_one(i + 1, value, expected.as_ref()))
        .collect()
}

fn fit_one(position: usize, value: &ScalarValue, expected: Option<&DataType>) -> Result<ScalarValue> {
    let Some(expected) = expected else {
        return Ok(value.clone());
    };
    let from = value.data_type();
    if from == *expected {
        return Ok(value.clone());
    }
    if value.is_null() {
        return ScalarValue::try_from(expected).map_err(|e| Error::Parameter(e.to_string()));
    }
    if let (DataType::Decimal128(precision, scale), ScalarValue::Utf8(Some(text))) = (expected, value) {
        return decimal(text, *precision, *scale).ok_or_else(|| refused(position, value, expected));
    }
    match cast(value, expected) {
        Some(narrow) if is_exact(&from) && cast(&narrow, &from).as_ref() != Some(value) => match (&from, expected) {
            (DataType::Timestamp(..), DataType::Timestamp(..)) => Err(refused(position, value, expected)),
            _ => Ok(value.clone()),
        },
        Some(cast) => Ok(cast),
        // `? + INTERVAL '1 day'` makes the engine expect an interval where a time is meant.
        None if matches!(expected, DataType::Interval(_)) => Ok(cast(value, &utc()).unwrap_or_else(|| value.clone())),
        None if from.is_numeric() && expected.is_numeric() => Ok(value.clone()),
        None => Err(refused(position, value, expected)),
    }
}

/// Types whose values a cast may round.
fn is_exact(from: &DataType) -> bool {
    from.is_numeric() || from.is_temporal()
}

fn refused(position: usize, value: &ScalarValue, expected: &DataType) -> Error {
    Error::Parameter(format!("value {position} ({value}) is not a {expected}"))
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The exact value: of the expected type where it fits, else as wide as it needs.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<ScalarValue> {
    let exact = |precision: u8, scale: u8| {
        let value = ticklake_sql::decimal::parse(text.trim(), precision, scale).ok()?;
        Some(ScalarValue::Decimal128(Some(value), precision, scale as i8))
    };
    exact(precision, u8::try_from(scale).ok()?)
        .or_else(|| (0..=DECIMAL128_MAX_PRECISION).find_map(|scale| exact(DECIMAL128_MAX_PRECISION, scale)))
}

fn cast(value: &ScalarValue, to: &DataType) -> Option<ScalarValue> {
    let array = value.to_array().ok()?;
    let options = CastOptions {
        safe: false,
        ..Default::default()
    };
    let array = cast_with_options(&array, to, &options).ok()?;
    ScalarValue::try_from_array(&array, 0).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::*;

    use super::*;

    fn fitted(value: ScalarValue, expected: DataType) -> Result<ScalarValue> {
        fit(&[value], &[Some(expected)]).map(|mut v| v.remove(0))
    }

    #[test]
    fn values_take_the_expected_type() {
        let text = |s: &str| ScalarValue::Utf8(Some(s.to_owned()));
        assert_eq!(
            fitted(ScalarValue::Int64(Some(3)), DataType::Int32).unwrap(),
            ScalarValue::Int32(Some(3))
        );
        assert_eq!(
            fitted(text("1.5"), DataType::Decimal128(28, 12)).unwrap(),
            ScalarValue::Decimal128(Some(1_500_000_000_000), 28, 12)
        );
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(
            fitted(text("1970-01-01T00:00:01Z"), zoned.clone()).unwrap(),
            ScalarValue::TimestampMicrosecond(Some(1_000_000), Some("UTC".into()))
        );
        assert!(fitted(ScalarValue::Null, zoned).unwrap().is_null());
        assert_eq!(fitted(text("a"), DataType::Utf8).unwrap(), text("a"));
    }

    #[test]
    fn types_are_announced_as_drivers_can_bind_them() {
        let zoned = |unit| DataType::Timestamp(unit, Some("UTC".into()));
        let check = |expected, announced: DataType| assert_eq!(*schema(&[expected]).field(0).data_type(), announced);
        check(None, DataType::Utf8);
        check(Some(DataType::Decimal128(28, 12)), DataType::Utf8);
        check(Some(DataType::Int64), DataType::Int64);
        check(Some(zoned(TimeUnit::Microsecond)), zoned(TimeUnit::Millisecond));
    }

    #[test]
    fn a_number_is_never_rounded_to_fit() {
        let half = ScalarValue::Float64(Some(1.5));
        assert_eq!(fitted(half.clone(), DataType::Int64).unwrap(), half);
        let big = ScalarValue::Int64(Some(i64::MAX));
        assert_eq!(fitted(big.clone(), DataType::Int32).unwrap(), big);
    }

    #[test]
    fn a_time_is_never_rounded_to_fit() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fine = ScalarValue::TimestampNanosecond(Some(1_500), Some("UTC".into()));
        assert!(fitted(fine, utc.clone()).is_err());
        let even = ScalarValue::TimestampNanosecond(Some(1_000), Some("UTC".into()));
        assert_eq!(fitted(even, utc.clone()).unwrap().data_type(), utc);
        let noon = ScalarValue::TimestampMicrosecond(Some(43_200_000_000), None);
        assert_eq!(fitted(noon.clone(), DataType::Date32).unwrap(), noon);
        assert_eq!(fitted(noon, utc.clone()).unwrap().data_type(), utc);
    }

    #[test]
    fn types_are_announced_plainly() {
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View));
        let announced = schema(&[
            Some(dictionary),
            Some(DataType::Null),
            None,
            Some(DataType::Decimal64(9, 2)),
        ]);
        assert!(
            announced.fields().iter().all(|f| f.data_type() == &DataType::Utf8),
            "{announced}"
        );
    }

    #[test]
    fn values_travel_as_they_are() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("0", column)]).unwrap();
        let batches = std::slice::from_ref(&batch);
        assert_eq!(decode(&encode(batches).unwrap()).unwrap(), batches);
        assert!(decode(b"noise that is no stream").is_err());
    }

    #[test]
    fn values_are_bounded_in_bytes() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(9 << 20)]));
        let batch = RecordBatch::try_from_iter([("0", column)]).unwrap();
        assert!(encode(&[batch]).unwrap_err().to_string().contains("bind fewer"));
    }

    #[test]
    fn decimal_text_is_never_rounded() {
        let text = |s: &str| ScalarValue::Utf8(Some(s.to_owned()));
        let fine = fitted(text("1.23456"), DataType::Decimal128(10, 2)).unwrap();
        assert_eq!(fine, ScalarValue::Decimal128(Some(123_456), 38, 5));
        assert!(fitted(text("NaN"), DataType::Decimal128(10, 2)).is_err());
    }

    #[test]
    fn a_time_may_stand_where_an_interval_is_expected() {
        let interval = DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano);
        let time = ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into()));
        assert_eq!(fitted(time.clone(), interval.clone()).unwrap(), time);
        let text = ScalarValue::Utf8(Some("1970-01-01T00:00:00.000001Z".into()));
        assert_eq!(fitted(text, interval.clone()).unwrap(), time);
        let span = fitted(ScalarValue::Utf8(Some("1 day".into())), interval.clone()).unwrap();
        assert_eq!(span.data_type(), interval);
    }

    #[test]
    fn text_that_does_not_read_is_refused() {
        let refused = fitted(ScalarValue::Utf8(Some("soon".into())), DataType::Int64)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("value 1 (soon)"), "{refused}");
    }
}

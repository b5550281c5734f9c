//! Rows of bound values out of what a client sent: as many as may be, no larger than they may be, and such as their types can hold.

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, validate_decimal_precision_and_scale,
};
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};

/// Rows of values that one execution may bind.
pub const MAX_ROWS: usize = 10_000;

/// What those rows may hold in memory: a few sent bytes may stand for many, as each mention of a word in a dictionary does.
const MAX_HELD_BYTES: usize = 64 << 20;

/// One row of values for each run of the statement.
pub type Rows = Vec<Vec<ScalarValue>>;

/// The rows of `batches`, each with exactly `count` values.
pub fn rows(batches: &[RecordBatch], count: usize) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut held_bytes = 0;
    for batch in batches {
        if batch.num_columns() != count {
            let sent = batch.num_columns();
            return Err(Error::Parameter(format!(
                "the statement takes {count} values, {sent} were bound"
            )));
        }
        // Rows without bytes, as of nulls, may say that they are as many as there are numbers.
        if batch.num_rows() > MAX_ROWS.saturating_sub(rows.len()) {
            return Err(Error::Parameter(format!(
                "more than {MAX_ROWS} rows of values; bind fewer at once"
            )));
        }
        for row in 0..batch.num_rows() {
            let mut values = Vec::with_capacity(count);
            for column in batch.columns() {
                let value = value(column.as_ref(), row)?;
                held_bytes += value.size();
                if held_bytes > MAX_HELD_BYTES {
                    return Err(Error::Parameter(format!(
                        "values that hold more than {MAX_HELD_BYTES} bytes; bind fewer at once"
                    )));
                }
                values.push(value);
            }
            rows.push(values);
        }
    }
    Ok(rows)
}

fn value(column: &dyn Array, row: usize) -> Result<ScalarValue> {
    let value = ScalarValue::try_from_array(column, row).map_err(|e| Error::Parameter(e.to_string()))?;
    match plain(value) {
        value if !is_sound(&value) => Err(Error::Parameter("a decimal or a date that its type cannot hold".into())),
        // Nothing bounds what is in them: a list of nulls is as long as it says.
        ScalarValue::List(_)
        | ScalarValue::LargeList(_)
        | ScalarValue::FixedSizeList(_)
        | ScalarValue::ListView(_)
        | ScalarValue::LargeListView(_)
        | ScalarValue::Struct(_)
        | ScalarValue::Map(_) => Err(Error::Parameter(
            "lists, structs and maps are not taken; bind each value by itself".into(),
        )),
        plain => Ok(plain),
    }
}

/// Unwraps the encodings that drivers put around a value.
fn plain(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Union(Some((_, inner)), _, _) => plain(*inner),
        ScalarValue::Union(None, _, _) => ScalarValue::Null,
        ScalarValue::Dictionary(_, inner) | ScalarValue::RunEndEncoded(_, _, inner) => plain(*inner),
        ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => ScalarValue::Utf8(text),
        ScalarValue::BinaryView(bytes) | ScalarValue::LargeBinary(bytes) => ScalarValue::Binary(bytes),
        other => other,
    }
}

/// Values that their type cannot hold are read all the same, and Arrow panics when it shows them or makes a time of them.
fn is_sound(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Decimal32(value, precision, scale) => fits::<Decimal32Type>(*value, *precision, *scale),
        ScalarValue::Decimal64(value, precision, scale) => fits::<Decimal64Type>(*value, *precision, *scale),
        ScalarValue::Decimal128(value, precision, scale) => fits::<Decimal128Type>(*value, *precision, *scale),
        ScalarValue::Decimal256(value, precision, scale) => fits::<Decimal256Type>(*value, *precision, *scale),
        ScalarValue::Date64(Some(ms)) => ms.checked_mul(1_000).is_some(),
        _ => true,
    }
}

fn fits<T: DecimalType>(value: Option<T::Native>, precision: u8, scale: i8) -> bool {
    validate_decimal_precision_and_scale::<T>(precision, scale).is_ok()
        && value.is_none_or(|value| T::is_valid_decimal_precision(value, precision))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::*;
    use datafusion::arrow::buffer::ScalarBuffer;
    use datafusion::arrow::datatypes::{DataType, Field, UnionFields, i256};

    use super::*;

    #[test]
    fn unions_are_unwrapped_by_position() {
        let fields = UnionFields::from_fields(vec![
            Field::new("int", DataType::Int64, true),
            Field::new("str", DataType::Utf8, true),
        ]);
        let children: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![7])),
            Arc::new(StringArray::from(vec!["x"])),
        ];
        let union = UnionArray::try_new(
            fields,
            ScalarBuffer::from(vec![1i8, 0]),
            Some(ScalarBuffer::from(vec![0i32, 0])),
            children,
        )
        .unwrap();
        let batch = RecordBatch::try_from_iter([("arg", Arc::new(union) as ArrayRef)]).unwrap();
        let rows = rows(&[batch], 1).unwrap();
        assert_eq!(
            rows,
            vec![
                vec![ScalarValue::Utf8(Some("x".into()))],
                vec![ScalarValue::Int64(Some(7))]
            ]
        );
    }

    #[test]
    fn the_count_is_checked() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("0", column)]).unwrap();
        assert!(
            rows(std::slice::from_ref(&batch), 2)
                .unwrap_err()
                .to_string()
                .contains("takes 2 values, 1 were bound")
        );
        assert_eq!(rows(&[batch], 1).unwrap().len(), 1);
    }

    #[test]
    fn what_few_bytes_stand_for_is_bounded() {
        let check = |columns: Vec<ArrayRef>, told: &str| {
            let batches: Vec<_> = columns
                .into_iter()
                .map(|column| RecordBatch::try_from_iter([("0", column)]).unwrap())
                .collect();
            let refused = rows(&batches, 1).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        };
        // One word, a hundred times; and the same place in memory as often.
        let word: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
        let repeated = DictionaryArray::new(Int8Array::from(vec![0; 100]), word);
        check(vec![Arc::new(repeated)], "bind fewer");
        let mut views = StringViewBuilder::new();
        let block = views.append_block("x".repeat(1 << 20).into_bytes().into());
        (0..100).for_each(|_| views.try_append_view(block, 0, 1 << 20).unwrap());
        check(vec![Arc::new(views.finish())], "bind fewer");
        // More rows than there are numbers, after one.
        let nulls = [1, usize::MAX].map(|length| Arc::new(NullArray::new(length)) as ArrayRef);
        check(nulls.to_vec(), "10000 rows");
        let item = Arc::new(Field::new("item", DataType::Null, true));
        let long = FixedSizeListArray::new(item, i32::MAX, Arc::new(NullArray::new(i32::MAX as usize)), None);
        check(vec![Arc::new(long)], "lists");
    }

    #[test]
    fn a_value_that_its_type_cannot_hold_is_refused() {
        let check = |column: Decimal256Array, sound: bool| {
            let batch = RecordBatch::try_from_iter([("0", Arc::new(column) as ArrayRef)]).unwrap();
            assert_eq!(rows(&[batch], 1).is_ok(), sound);
        };
        let of_type = |digits: &str, precision, scale| {
            let value: i256 = digits.parse().unwrap();
            let data = Decimal256Array::from(vec![value]).into_data().into_builder();
            let data = data.data_type(DataType::Decimal256(precision, scale));
            Decimal256Array::from(data.build().unwrap())
        };
        check(of_type("15", 60, 4), true);
        check(of_type("123", 2, 0), false);
        // Found by the fuzz target: shown, it would be cut in front of its first digit.
        check(of_type(&"1".repeat(76), 60, 70), false);
        // Found by it too: no time in microseconds.
        let dates = RecordBatch::try_from_iter([("0", Arc::new(Date64Array::from(vec![i64::MAX])) as ArrayRef)]);
        assert!(rows(&[dates.unwrap()], 1).is_err());
    }
}

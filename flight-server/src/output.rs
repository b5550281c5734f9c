//! The last step of every query: rows in types that the client can read.
//!
//! The same function shapes batches and every advertised schema, so what is announced is what is sent. All result
//! columns are nullable and without metadata: logical and physical plans disagree on nullability (MIN over statistics,
//! `version()`), and strict clients compare it.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit,
};

use crate::error::{Error, Result};
use crate::profile::{Profile, Timestamps, Types};

/// The schema that a result of `schema` is announced and sent with.
pub fn schema(schema: &Schema, profile: Profile) -> SchemaRef {
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|f| Arc::new(Field::new(f.name(), data_type(f.data_type(), profile), true)))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The type that `from` becomes under `profile`.
pub fn data_type(from: &DataType, profile: Profile) -> DataType {
    if let DataType::Dictionary(_, value) = from {
        // Sent as its values under every profile.
        return data_type(value, profile);
    }
    if profile.types == Types::Arrow {
        return as_the_engine_has_it(from, profile);
    }
    let grafana = profile.types == Types::Grafana;
    match from {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::RunEndEncoded(_, values) => data_type(values.data_type(), profile),
        DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _)
            if grafana =>
        {
            DataType::Float64
        }
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(p, s) if *p <= DECIMAL128_MAX_PRECISION => DataType::Decimal128(*p, *s),
        DataType::Float16 => DataType::Float32,
        DataType::Date32 | DataType::Date64 if grafana => DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(nested(item, profile))
        }
        other => with_nested(other, profile),
    }
}

fn as_the_engine_has_it(from: &DataType, profile: Profile) -> DataType {
    match from {
        DataType::LargeList(item) => DataType::LargeList(nested(item, profile)),
        DataType::ListView(item) => DataType::ListView(nested(item, profile)),
        DataType::LargeListView(item) => DataType::LargeListView(nested(item, profile)),
        other => with_nested(other, profile),
    }
}

/// `from` with what is inside it, or its unit, as `profile` wants them.
fn with_nested(from: &DataType, profile: Profile) -> DataType {
    match from {
        DataType::Timestamp(_, _) => timestamp(from, profile.timestamps),
        DataType::List(item) => DataType::List(nested(item, profile)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(nested(item, profile), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| nested(f, profile)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(map_entries(entries, profile), *sorted),
        other => other.clone(),
    }
}

fn timestamp(from: &DataType, timestamps: Timestamps) -> DataType {
    match (from, timestamps) {
        (DataType::Timestamp(_, zone), Timestamps::Us) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        (DataType::Timestamp(_, zone), Timestamps::Ns) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        (DataType::Timestamp(_, _), Timestamps::Naive) => DataType::Timestamp(TimeUnit::Microsecond, None),
        (other, _) => other.clone(),
    }
}

fn nested(field: &FieldRef, profile: Profile) -> FieldRef {
    Arc::new(Field::new(field.name(), data_type(field.data_type(), profile), true))
}

/// A map's entries and keys are never null by definition of the type.
fn map_entries(entries: &FieldRef, profile: Profile) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else {
        return entries.clone();
    };
    let fields: Fields = fields
        .iter()
        .enumerate()
        .map(|(i, f)| Arc::new(Field::new(f.name(), data_type(f.data_type(), profile), i > 0)))
        .collect();
    Arc::new(Field::new(entries.name(), DataType::Struct(fields), false))
}

/// `batch` in the types of `schema`, which came from [`schema`] over the plan's own.
pub fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() != schema.fields().len() {
        return Err(Error::Internal(format!(
            "the plan sent {} columns where {} were announced",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| convert(column, field.data_type()))
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn convert(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    // A value that does not fit is an error, never a silent NULL.
    Ok(cast_with_options(
        column,
        to,
        &CastOptions {
            safe: false,
            ..Default::default()
        },
    )?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::array::*;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    const STRICT: Profile = Profile {
        types: Types::Strict,
        timestamps: Timestamps::Us,
    };
    const GRAFANA: Profile = Profile {
        types: Types::Grafana,
        timestamps: Timestamps::Ns,
    };
    const ARROW: Profile = Profile {
        types: Types::Arrow,
        timestamps: Timestamps::Unchanged,
    };

    fn utc(unit: TimeUnit) -> DataType {
        DataType::Timestamp(unit, Some("UTC".into()))
    }

    #[test]
    fn types_by_profile() {
        let check = |from: DataType, profile, to: DataType| assert_eq!(data_type(&from, profile), to, "{from:?}");
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View));
        check(dictionary.clone(), STRICT, DataType::Utf8);
        check(dictionary, ARROW, DataType::Utf8View);
        let large = DataType::LargeList(Arc::new(Field::new("item", DataType::LargeUtf8, true)));
        check(large.clone(), ARROW, large);
        check(DataType::BinaryView, STRICT, DataType::Binary);
        check(DataType::Decimal64(10, 2), STRICT, DataType::Decimal128(10, 2));
        check(DataType::Decimal256(70, 2), STRICT, DataType::Decimal256(70, 2));
        check(DataType::Decimal128(28, 12), GRAFANA, DataType::Float64);
        check(
            DataType::Date32,
            GRAFANA,
            DataType::Timestamp(TimeUnit::Nanosecond, None),
        );
        check(utc(TimeUnit::Nanosecond), STRICT, utc(TimeUnit::Microsecond));
        check(utc(TimeUnit::Microsecond), GRAFANA, utc(TimeUnit::Nanosecond));
        check(utc(TimeUnit::Nanosecond), ARROW, utc(TimeUnit::Nanosecond));
        let naive = Profile {
            types: Types::Strict,
            timestamps: Timestamps::Naive,
        };
        check(
            utc(TimeUnit::Nanosecond),
            naive,
            DataType::Timestamp(TimeUnit::Microsecond, None),
        );
        check(
            DataType::LargeList(Arc::new(Field::new("item", DataType::Utf8View, false))),
            STRICT,
            DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        );
    }

    #[test]
    fn batches_match_the_announced_schema() {
        let strings: ArrayRef = Arc::new(StringViewArray::from(vec![
            Some("a"),
            None,
            Some("a string longer than 12 bytes"),
        ]));
        let dictionary: ArrayRef = Arc::new(
            [Some("x"), None, Some("y")]
                .into_iter()
                .collect::<DictionaryArray<Int32Type>>(),
        );
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_500, -1_500, 0]).with_timezone("UTC"));
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("p"), None]);
        lists.append_null();
        lists.append_value([Some("q")]);
        let lists: ArrayRef = Arc::new(lists.finish());
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("s", DataType::Utf8View, true)),
            strings.clone(),
        )]));
        let columns = vec![
            ("s", strings),
            ("d", dictionary),
            ("t", times),
            ("l", lists),
            ("r", structs),
        ];
        let input = RecordBatch::try_from_iter(columns).unwrap();
        for profile in [STRICT, GRAFANA, ARROW] {
            let announced = schema(input.schema_ref(), profile);
            let sent = batch(&input, &announced).unwrap();
            assert_eq!(sent.schema(), announced);
            sent.column(0).to_data().validate_full().unwrap();
        }
        let sent = batch(&input, &schema(input.schema_ref(), STRICT)).unwrap();
        let text = sent.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(text.value(2), "a string longer than 12 bytes");
        assert!(text.is_null(1));
    }

    #[test]
    fn metadata_and_not_null_are_dropped() {
        let field = Field::new("a", DataType::Int64, false).with_metadata(HashMap::from([("k".into(), "v".into())]));
        let out = schema(&Schema::new(vec![field]), STRICT);
        assert!(out.field(0).is_nullable());
        assert!(out.field(0).metadata().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX / 2]));
        let input = RecordBatch::try_from_iter([("t", far)]).unwrap();
        assert!(batch(&input, &schema(input.schema_ref(), STRICT)).is_err());
    }
}

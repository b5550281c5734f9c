//! Rows of any table of the contract from a seed: every type, nulls where allowed, text and numbers at their edges.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Int32Builder, Int64Builder, ListBuilder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema};
use ticklake_sql::ddl::TableSpec;
use ticklake_sql::{Clock, Lake, LakeOptions};

pub const DATE: &str = "2026-11-21";
/// 2026-11-21 in days since the epoch.
pub const DATE_DAYS: i32 = 20_778;

pub fn clock() -> Clock {
    Clock::from_fn(|| chrono::DateTime::from_timestamp_micros(1_795_258_800_000_000).unwrap())
}

pub fn local_lake(folder: &tempfile::TempDir) -> Lake {
    Lake::open(folder.path().to_str().unwrap(), LakeOptions::default(), clock()).unwrap()
}

pub fn partition(spec: &TableSpec) -> BTreeMap<String, String> {
    spec.partition_columns
        .iter()
        .map(|c| {
            (
                c.clone(),
                if c.ends_with("date") { DATE } else { "BTC-USDT" }.to_owned(),
            )
        })
        .collect()
}

/// A few rows that a commit can carry, of the table's file schema.
pub fn batch(spec: &TableSpec, seed: u64, rows: usize) -> RecordBatch {
    let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
    let schema = spec.file_schema();
    let columns = schema.fields().iter().map(|f| column(f, rows, &mut random)).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

/// `batch` with the partition columns added in their place: what a reader sees.
pub fn as_read(spec: &TableSpec, batch: &RecordBatch) -> RecordBatch {
    let columns = spec
        .schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => {
                let mut dates = Date32Builder::new();
                (0..batch.num_rows()).for_each(|_| dates.append_value(DATE_DAYS));
                Arc::new(dates.finish()) as ArrayRef
            }
        });
    let plain: Vec<_> = spec
        .schema
        .fields()
        .iter()
        .map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable()))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(plain)), columns.collect()).unwrap()
}

fn column(field: &Field, rows: usize, random: &mut Random) -> ArrayRef {
    let all_null = field.is_nullable() && random.below(5) == 0;
    let some = |random: &mut Random| !field.is_nullable() || !(all_null || random.below(4) == 0);
    macro_rules! build {
        ($builder:expr, $value:expr) => {{
            let mut builder = $builder;
            for _ in 0..rows {
                let value = $value(random);
                builder.append_option(some(random).then_some(value));
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    match field.data_type() {
        DataType::Utf8 => build!(StringBuilder::new(), Random::text),
        DataType::Binary => build!(BinaryBuilder::new(), |r: &mut Random| r.text().into_bytes()),
        DataType::Boolean => build!(BooleanBuilder::new(), |r: &mut Random| r.below(2) == 0),
        DataType::Int32 => build!(Int32Builder::new(), |r: &mut Random| r
            .edge(i128::from(i32::MIN), i128::from(i32::MAX))
            as i32),
        DataType::Int64 => build!(Int64Builder::new(), |r: &mut Random| r
            .edge(i128::from(i64::MIN), i128::from(i64::MAX))
            as i64),
        DataType::Date32 => build!(Date32Builder::new(), |r: &mut Random| r.below(40_000) as i32 - 20_000),
        DataType::Timestamp(..) => {
            let builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            build!(builder, |r: &mut Random| r.below(4_000_000_000_000_000) as i64
                - 1_000_000_000_000_000)
        }
        DataType::Decimal128(precision, scale) => {
            let limit = 10i128.pow(u32::from(*precision)) - 1;
            build!(
                Decimal128Builder::new()
                    .with_precision_and_scale(*precision, *scale)
                    .unwrap(),
                |r: &mut Random| r.edge(-limit, limit)
            )
        }
        DataType::List(item) => {
            let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item.clone());
            for _ in 0..rows {
                for _ in 0..random.below(3) {
                    builder.values().append_value(random.text());
                }
                builder.append(some(random));
            }
            Arc::new(builder.finish())
        }
        other => panic!("no rows of type {other}"),
    }
}

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Now and then an end of the range, else a number of any magnitude in it.
    fn edge(&mut self, min: i128, max: i128) -> i128 {
        match self.below(20) {
            0 => min,
            1 => max,
            _ => {
                let wide = (i128::from(self.next()) << 64 | i128::from(self.next())) >> self.below(120);
                wide.clamp(min, max)
            }
        }
    }

    /// Short and long text, some with quotes, wide characters, and the greatest character where a cut falls.
    fn text(&mut self) -> String {
        const PIECES: [&str; 10] = [
            "a",
            "BTC",
            "\"q\"",
            "\\",
            "ä",
            "日本",
            "\u{10FFFF}",
            "\n",
            "0123456789abcdef",
            "zzzzzzzz",
        ];
        (0..self.below(12))
            .map(|_| PIECES[self.below(PIECES.len() as u64) as usize])
            .collect()
    }
}

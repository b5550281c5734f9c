//! The order of a table's rows in a file: the columns of its definition's sort key, and after them what makes the order total.
//!
//! bronze: (topic, partition, offset); silver: (symbol, ts, seq, trade_id, venue, kind); gold: (symbol, window_start, venue).

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use ticklake_sql::ddl::TableSpec;

use crate::{Error, Result};

/// Orders bronze, and whatever else has no sort key of its own.
const COORDINATES: [&str; 3] = ["topic", "partition", "offset"];
/// Behind a sort key, as far as the table has them.
const TIES: [&str; 3] = ["trade_id", "venue", "kind"];

#[derive(Debug, Clone)]
pub struct RowOrder {
    /// Places among the columns of a row.
    columns: Vec<usize>,
    /// Writers keep this order themselves; where they do not, every file is sorted first.
    pub is_kept_by_writers: bool,
}

impl RowOrder {
    /// Of rows in the columns of [`TableSpec::row_schema`].
    pub fn of(spec: &TableSpec) -> Self {
        Self::over(spec, &spec.row_schema())
    }

    /// The columns that decide, as rows of their own.
    pub fn key_schema(spec: &TableSpec) -> SchemaRef {
        let schema = spec.row_schema();
        let fields: Vec<_> = Self::of(spec)
            .columns
            .iter()
            .map(|place| schema.fields()[*place].clone())
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Of rows in the columns of `schema`.
    pub fn over(spec: &TableSpec, schema: &SchemaRef) -> Self {
        let is_kept_by_writers = !spec.sort_columns.is_empty();
        let names: Vec<&str> = if is_kept_by_writers {
            spec.sort_columns.iter().map(String::as_str).chain(TIES).collect()
        } else {
            COORDINATES.to_vec()
        };
        Self {
            columns: names.iter().filter_map(|name| schema.index_of(name).ok()).collect(),
            is_kept_by_writers,
        }
    }

    /// The key columns of a batch, ready to be compared.
    pub fn keys(&self, batch: &RecordBatch) -> Result<Keys> {
        let columns = self.columns.iter().map(|column| Column::new(batch.column(*column)));
        Ok(Keys(columns.collect::<Result<_>>()?))
    }
}

/// Key columns of one batch.
#[derive(Debug, Clone)]
pub struct Keys(Vec<Column>);

#[derive(Debug, Clone)]
enum Column {
    Text(StringArray),
    Int(Int32Array),
    Long(ScalarBuffer<i64>),
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self> {
        if array.null_count() > 0 {
            return Err(Error::Internal("a column of a table's order holds NULL".into()));
        }
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            DataType::Int32 => Self::Int(array.as_primitive().clone()),
            DataType::Int64 => Self::Long(array.as_primitive::<Int64Type>().values().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Long(array.as_primitive::<TimestampMicrosecondType>().values().clone())
            }
            other => {
                return Err(Error::Internal(format!(
                    "rows cannot be ordered by a column of {other}"
                )));
            }
        })
    }
}

impl Keys {
    pub fn compare(&self, row: usize, other: &Keys, other_row: usize) -> Ordering {
        for (own, other) in self.0.iter().zip(&other.0) {
            let ordering = match (own, other) {
                (Column::Text(own), Column::Text(other)) => own.value(row).cmp(other.value(other_row)),
                (Column::Int(own), Column::Int(other)) => own.value(row).cmp(&other.value(other_row)),
                (Column::Long(own), Column::Long(other)) => own[row].cmp(&other[other_row]),
                _ => Ordering::Equal,
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    pub fn is_sorted(&self, rows: usize) -> bool {
        (1..rows).all(|row| self.compare(row - 1, self, row) != Ordering::Greater)
    }

    /// Rows from `from` on that come before `bound`, or with it where `ties` is true. The rows are sorted; runs are short or long, so the
    /// steps grow before the span is halved.
    pub fn run(&self, from: usize, rows: usize, bound: (&Keys, usize), ties: bool) -> usize {
        let precedes = |row: usize| match self.compare(row, bound.0, bound.1) {
            Ordering::Less => true,
            Ordering::Equal => ties,
            Ordering::Greater => false,
        };
        let (mut low, mut step) = (from, 1);
        while low + step <= rows && precedes(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = rows.min(low + step - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if precedes(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(values: &[i64]) -> Keys {
        Keys(vec![Column::Long(values.to_vec().into())])
    }

    #[test]
    fn runs_end_where_the_bound_stands() {
        let own = keys(&(0..100).map(|n| n / 3).collect::<Vec<_>>());
        for from in [0, 1, 50, 99] {
            for bound in -1..40 {
                for ties in [false, true] {
                    let expected = (from..100)
                        .take_while(|row| {
                            let value = *row as i64 / 3;
                            value < bound || ties && value == bound
                        })
                        .count();
                    assert_eq!(own.run(from, 100, (&keys(&[bound]), 0), ties), expected);
                }
            }
        }
    }

    #[test]
    fn the_first_column_that_differs_decides() {
        let text = |texts: &[&str]| Column::Text(texts.iter().map(|text| Some(*text)).collect());
        let rows = Keys(vec![
            text(&["a", "a", "b"]),
            Column::Int(Int32Array::from(vec![2, 10, 1])),
        ]);
        assert!(rows.is_sorted(3));
        assert_eq!(rows.compare(2, &rows, 1), Ordering::Greater);
        assert_eq!(rows.compare(0, &rows, 1), Ordering::Less);
    }
}

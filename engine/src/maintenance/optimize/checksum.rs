//! A sum over rows that does not depend on their order: two sets of rows with the same one are, but for an accident of 1 in 2^64, the same.
//!
//! Each row is hashed over all its columns and the hashes are added up, so a value that moves to another row changes the sum.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;

use crate::{Error, Result};

/// Digits of pi and of e: odd, with about as many ones as zeros.
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const NULL: u64 = 0xb7e1_5162_8aed_2a6b;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum {
    pub rows: u64,
    pub sum: u64,
}

impl Checksum {
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut hashes = vec![SEED; batch.num_rows()];
        for column in batch.columns() {
            mix_column(&mut hashes, column)?;
        }
        self.rows += hashes.len() as u64;
        self.sum = hashes.iter().fold(self.sum, |sum, hash| sum.wrapping_add(*hash));
        Ok(())
    }

    pub fn merge(&mut self, other: Checksum) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Both halves of the whole product, so that every bit of the input reaches every bit of the hash.
fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value) * u128::from(FACTOR);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(FACTOR)
}

fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    hash = mix(hash, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}

fn mix_column(hashes: &mut [u64], column: &ArrayRef) -> Result<()> {
    if column.null_count() == column.len() {
        hashes.iter_mut().for_each(|hash| *hash = mix(*hash, NULL));
        return Ok(());
    }
    match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            mix_each(hashes, column, |hash, row| mix(hash, values[row] as u64));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            mix_each(hashes, column, |hash, row| mix(hash, values[row] as u64));
        }
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>().values();
            mix_each(hashes, column, |hash, row| mix(hash, values[row] as u64));
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            mix_each(hashes, column, |hash, row| {
                mix(mix(hash, values[row] as u64), (values[row] >> 64) as u64)
            });
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            mix_each(hashes, column, |hash, row| mix(hash, u64::from(values.value(row))));
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            mix_each(hashes, column, |hash, row| {
                mix_bytes(hash, values.value(row).as_bytes())
            });
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            mix_each(hashes, column, |hash, row| mix_bytes(hash, values.value(row)));
        }
        DataType::List(_) => {
            let lists = column.as_list::<i32>();
            let items = lists
                .values()
                .as_string_opt::<i32>()
                .ok_or_else(|| Error::Internal("a list that holds no text has no checksum".into()))?;
            mix_each(hashes, column, |hash, row| {
                let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
                let length = mix(hash, range.len() as u64);
                range.fold(length, |hash, item| match items.is_valid(item) {
                    true => mix_bytes(hash, items.value(item).as_bytes()),
                    false => mix(hash, NULL),
                })
            });
        }
        other => return Err(Error::Internal(format!("a column of {other} has no checksum"))),
    }
    Ok(())
}

fn mix_each(hashes: &mut [u64], column: &ArrayRef, next: impl Fn(u64, usize) -> u64) {
    if column.null_count() == 0 {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = next(*hash, row);
        }
    } else {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = if column.is_valid(row) {
                next(*hash, row)
            } else {
                mix(*hash, NULL)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, ListBuilder, StringArray, StringBuilder};
    use arrow::compute::{concat_batches, take_record_batch};

    use super::*;

    fn batch() -> RecordBatch {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        lists.append_value([Some("b")]);
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            (
                "text",
                Arc::new(StringArray::from(vec![Some("BTC-USDT"), Some(""), None])),
            ),
            ("price", Arc::new(Decimal128Array::from(vec![7, -7, 1 << 80]))),
            ("list", Arc::new(lists.finish())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn sum(batches: &[RecordBatch]) -> Checksum {
        let mut checksum = Checksum::default();
        batches.iter().for_each(|batch| checksum.add(batch).unwrap());
        checksum
    }

    #[test]
    fn order_and_split_do_not_matter() {
        let whole = batch();
        let turned = take_record_batch(&whole, &arrow::array::UInt32Array::from(vec![2, 0, 1])).unwrap();
        assert_eq!(sum(std::slice::from_ref(&whole)), sum(&[turned]));
        assert_eq!(
            sum(std::slice::from_ref(&whole)),
            sum(&[whole.slice(1, 2), whole.slice(0, 1)])
        );
    }

    #[test]
    fn a_value_in_another_row_matters() {
        let whole = batch();
        for moved in 0..whole.num_columns() {
            let mut columns = whole.columns().to_vec();
            columns[moved] =
                arrow::compute::take(&columns[moved], &arrow::array::UInt32Array::from(vec![1, 2, 0]), None).unwrap();
            let other = RecordBatch::try_new(whole.schema(), columns).unwrap();
            assert_ne!(sum(std::slice::from_ref(&whole)), sum(&[other]), "column {moved}");
        }
    }

    #[test]
    fn doubled_and_lost_rows_matter() {
        let whole = batch();
        let doubled = concat_batches(&whole.schema(), &[whole.clone(), whole.slice(0, 1)]).unwrap();
        assert_ne!(sum(std::slice::from_ref(&whole)), sum(&[doubled]));
        assert_ne!(sum(std::slice::from_ref(&whole)), sum(&[whole.slice(0, 2)]));
    }
}

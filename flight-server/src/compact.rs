//! Columns without what none of their rows points to: views keep whole data buffers, and list views and unions whole values,
//! however few rows are left of them, and IPC writes them as they are.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    StructArray, UInt32Array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, FieldRef, UnionMode};

use crate::error::{Error, Result};

/// None where nothing can be left out.
pub fn batch(batch: &RecordBatch) -> Result<Option<RecordBatch>> {
    let fields = batch.schema_ref().fields();
    if !fields.iter().any(|field| points_elsewhere(field.data_type())) {
        return Ok(None);
    }
    let columns = batch.columns().iter().map(compact).collect::<Result<Vec<_>>>()?;
    Ok(Some(RecordBatch::try_new(batch.schema(), columns)?))
}

fn points_elsewhere(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView | DataType::ListView(_) | DataType::LargeListView(_) => true,
        DataType::Union(fields, mode) => {
            *mode == UnionMode::Dense || fields.iter().any(|(_, field)| points_elsewhere(field.data_type()))
        }
        DataType::FixedSizeList(_, 0) => false,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => points_elsewhere(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| points_elsewhere(field.data_type())),
        _ => false,
    }
}

fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    if !points_elsewhere(array.data_type()) {
        return Ok(array.clone());
    }
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Struct(fields) => {
            let rows = array.as_struct();
            let columns = rows.columns().iter().map(compact).collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, rows.nulls().cloned())?)
        }
        DataType::List(item) => list::<i32>(array.as_list(), item)?,
        DataType::LargeList(item) => list::<i64>(array.as_list(), item)?,
        DataType::ListView(item) => as_list(array, DataType::List(item.clone()))?,
        DataType::LargeListView(item) => as_list(array, DataType::LargeList(item.clone()))?,
        DataType::FixedSizeList(item, size) => {
            let lists = array.as_fixed_size_list();
            let values = compact(lists.values())?;
            let nulls = lists.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, nulls)?)
        }
        DataType::Map(entries, sorted) => {
            let maps = array.as_map();
            let (offsets, values) = trimmed(maps.offsets(), &(Arc::new(maps.entries().clone()) as ArrayRef));
            let values = compact(&values)?.as_struct().clone();
            let nulls = maps.nulls().cloned();
            Arc::new(MapArray::try_new(entries.clone(), offsets, values, nulls, *sorted)?)
        }
        _ => taken(array)?,
    })
}

fn list<O: OffsetSizeTrait>(lists: &GenericListArray<O>, item: &FieldRef) -> Result<ArrayRef> {
    let (offsets, values) = trimmed(lists.offsets(), lists.values());
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(GenericListArray::<O>::try_new(
        item.clone(),
        offsets,
        compact(&values)?,
        nulls,
    )?))
}

/// The values between the first and the last offset, and offsets from zero on.
fn trimmed<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, values: &ArrayRef) -> (OffsetBuffer<O>, ArrayRef) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let from_zero: ScalarBuffer<O> = offsets.iter().map(|offset| *offset - first).collect();
    let values = values.slice(first.as_usize(), last.as_usize() - first.as_usize());
    (OffsetBuffer::new(from_zero), values)
}

/// A list view by way of a list, whose values lie in the order of the rows.
fn as_list(array: &ArrayRef, list: DataType) -> Result<ArrayRef> {
    Ok(cast(&compact_list(array, &list)?, array.data_type())?)
}

fn compact_list(array: &ArrayRef, list: &DataType) -> Result<ArrayRef> {
    let lists = cast(array, list)?;
    match list {
        DataType::List(item) => self::list::<i32>(lists.as_list(), item),
        DataType::LargeList(item) => self::list::<i64>(lists.as_list(), item),
        other => Err(Error::Internal(format!("{other} is no list"))),
    }
}

/// Copied row by row: rare types.
fn taken(array: &ArrayRef) -> Result<ArrayRef> {
    let rows = u32::try_from(array.len()).map_err(|_| Error::Internal("too many rows in a batch".into()))?;
    Ok(take(array, &UInt32Array::from_iter_values(0..rows), None)?)
}

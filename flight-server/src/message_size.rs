//! What a batch takes as a Flight message, without encoding it: arrow-ipc's `write_array_data` as sums.
//!
//! Lists count what lies between their first and last offset. Data buffers of views, values of list views and of dense
//! unions are written whole whatever the rows are, and count whole.

use datafusion::arrow::array::{Array, ArrayData, RecordBatch, RunArray, make_array};
use datafusion::arrow::datatypes::{ArrowNativeType, DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType};

/// Of each buffer in a message's body.
pub const ALIGNMENT: u8 = 64;
/// Where a buffer lies, and how many rows and nulls a column has, in the header.
const HEADER_ENTRY: usize = 16;
/// The rest of the header, and what protobuf puts around both.
const ENVELOPE: usize = 512;

/// Bytes of the message at most: no more than the envelope above what is sent.
pub fn message_bytes(batch: &RecordBatch) -> usize {
    let mut size = Size::default();
    for column in batch.columns() {
        size.add(&column.to_data());
    }
    size.body + size.entries * HEADER_ENTRY + ENVELOPE
}

#[derive(Default)]
struct Size {
    body: usize,
    entries: usize,
}

impl Size {
    fn buffer(&mut self, bytes: usize) {
        self.body += bytes.next_multiple_of(usize::from(ALIGNMENT));
        self.entries += 1;
    }

    fn add(&mut self, data: &ArrayData) {
        let rows = data.len();
        self.entries += 1;
        if !matches!(
            data.data_type(),
            DataType::Null | DataType::Union(_, _) | DataType::RunEndEncoded(_, _)
        ) {
            self.buffer(if data.null_count() > 0 { rows.div_ceil(8) } else { 0 });
        }
        match data.data_type() {
            DataType::Null => {}
            DataType::Boolean => self.buffer(rows.div_ceil(8)),
            DataType::Utf8 | DataType::Binary => self.bytes::<i32>(data),
            DataType::LargeUtf8 | DataType::LargeBinary => self.bytes::<i64>(data),
            DataType::Utf8View | DataType::BinaryView => {
                self.buffer(rows * size_of::<u128>());
                data.buffers().iter().skip(1).for_each(|b| self.buffer(b.len()));
                self.entries += 1;
            }
            DataType::List(_) | DataType::Map(_, _) => self.list::<i32>(data),
            DataType::LargeList(_) => self.list::<i64>(data),
            DataType::ListView(_) => self.list_view(data, size_of::<i32>()),
            DataType::LargeListView(_) => self.list_view(data, size_of::<i64>()),
            DataType::FixedSizeList(_, size) => {
                let size = usize::try_from(*size).unwrap_or_default();
                self.add(&data.child_data()[0].slice(data.offset() * size, rows * size));
            }
            DataType::RunEndEncoded(ends, _) => match ends.data_type() {
                DataType::Int16 => self.runs::<Int16Type>(data),
                DataType::Int32 => self.runs::<Int32Type>(data),
                _ => self.runs::<Int64Type>(data),
            },
            DataType::Struct(_) => data.child_data().iter().for_each(|child| self.add(child)),
            DataType::Union(_, _) => {
                data.buffers().iter().for_each(|b| self.buffer(b.len()));
                data.child_data().iter().for_each(|child| self.add(child));
            }
            DataType::Dictionary(key, _) => self.buffer(rows * width(key)),
            plain => self.buffer(rows * width(plain)),
        }
    }

    fn bytes<O: ArrowNativeType>(&mut self, data: &ArrayData) {
        let (from, to) = span::<O>(data);
        self.buffer((data.len() + 1) * size_of::<O>());
        self.buffer(to - from);
    }

    fn list<O: ArrowNativeType>(&mut self, data: &ArrayData) {
        let (from, to) = span::<O>(data);
        self.buffer((data.len() + 1) * size_of::<O>());
        self.add(&data.child_data()[0].slice(from, to - from));
    }

    fn list_view(&mut self, data: &ArrayData, offset_width: usize) {
        let values = &data.child_data()[0];
        self.buffer(data.len() * offset_width);
        self.buffer(data.len() * offset_width);
        if data.is_empty() {
            self.add(&values.slice(0, 0));
        } else {
            self.add(values);
        }
    }

    /// The runs that the rows lie in; their ends are numbers without nulls.
    fn runs<R: RunEndIndexType>(&mut self, data: &ArrayData) {
        let array = make_array(data.clone());
        let Some(runs) = array.as_any().downcast_ref::<RunArray<R>>() else {
            return;
        };
        let (first, last) = if data.is_empty() {
            (0, 0)
        } else {
            let ends = runs.run_ends();
            (ends.get_start_physical_index(), ends.get_end_physical_index() + 1)
        };
        self.entries += 1;
        self.buffer(0);
        self.buffer((last - first) * size_of::<R::Native>());
        self.add(&runs.values().slice(first, last - first).to_data());
    }
}

/// From and to where the values of the rows lie.
fn span<O: ArrowNativeType>(data: &ArrayData) -> (usize, usize) {
    if data.is_empty() {
        return (0, 0);
    }
    let offsets = &data.buffers()[0].typed_data::<O>()[data.offset()..=data.offset() + data.len()];
    (offsets[0].as_usize(), offsets[data.len()].as_usize())
}

fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::FixedSizeBinary(bytes) => usize::try_from(*bytes).unwrap_or_default(),
        other => other.primitive_width().unwrap_or_default(),
    }
}

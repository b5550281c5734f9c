//! Batches as Flight frames: the schema first, then messages of at most 2 MiB by their real bytes.
//!
//! arrow-flight's encoder splits by row counts and grows each message's buffer from nothing; this one measures, and
//! reuses the last message's size. Columns come in the announced types, so no dictionary gets here.

use arrow_flight::{FlightData, SchemaAsIpc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

use crate::compact;
use crate::error::{Error, Result};
use crate::message_size::message_bytes;

/// Of a message, header and padding included; what clients read best.
pub const MESSAGE_BYTES: usize = 2 << 20;
/// A row cannot be split; Go clients outside ADBC take no larger messages.
pub const MAX_ROW_BYTES: usize = 4 << 20;

pub struct Encoder {
    options: IpcWriteOptions,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
}

impl Default for Encoder {
    fn default() -> Self {
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        Self {
            // Aligned to `message_size::ALIGNMENT`.
            options: IpcWriteOptions::default(),
            generator: IpcDataGenerator::default(),
            dictionaries: DictionaryTracker::new(false),
            context,
        }
    }
}

impl Encoder {
    pub fn schema(&self, schema: &Schema) -> FlightData {
        SchemaAsIpc::new(schema, &self.options).into()
    }

    /// One message; `batch` is one of the pieces of [`split`].
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<FlightData> {
        let encoded = self
            .generator
            .encode(batch, &mut self.dictionaries, &self.options, &mut self.context);
        let (dictionaries, message) = encoded?;
        if !dictionaries.is_empty() {
            let text = "a dictionary inside a union cannot be sent; take its values by arrow_cast";
            return Err(Error::Unsupported(text.into()));
        }
        Ok(message.into())
    }
}

/// Halves `batch` until each piece is a message that may be sent; an empty batch is no piece.
pub fn split(batch: RecordBatch, pieces: &mut Vec<RecordBatch>) -> Result<()> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let (batch, bytes) = measured(batch)?;
    if bytes <= MESSAGE_BYTES {
        pieces.push(batch);
        return Ok(());
    }
    if batch.num_rows() == 1 {
        if bytes > MAX_ROW_BYTES {
            let text =
                format!("a row of the result has {bytes} bytes, more than the {MAX_ROW_BYTES} a message may have");
            return Err(Error::Limit(text));
        }
        pieces.push(batch);
        return Ok(());
    }
    let half = batch.num_rows() / 2;
    split(batch.slice(0, half), pieces)?;
    split(batch.slice(half, batch.num_rows() - half), pieces)
}

/// What is too large as it stands is freed of what its rows do not use, and measured again.
fn measured(batch: RecordBatch) -> Result<(RecordBatch, usize)> {
    let bytes = message_bytes(&batch);
    if bytes <= MESSAGE_BYTES {
        return Ok((batch, bytes));
    }
    Ok(match compact::batch(&batch)? {
        Some(smaller) => {
            let bytes = message_bytes(&smaller);
            (smaller, bytes)
        }
        None => (batch, bytes),
    })
}

/// The frames of a result that is there already (catalog calls).
pub fn all(batch: RecordBatch) -> Result<Vec<FlightData>> {
    let mut encoder = Encoder::default();
    let mut frames = vec![encoder.schema(batch.schema_ref())];
    let mut pieces = Vec::new();
    split(batch, &mut pieces)?;
    for piece in &pieces {
        frames.push(encoder.batch(piece)?);
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::*;
    use datafusion::arrow::compute::{cast, concat_batches};
    use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
    use prost::Message;

    use super::*;

    /// Between what is counted for a message's envelope and what it takes.
    const SLACK: usize = 512;

    fn pieces(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<RecordBatch>> {
        let mut pieces = Vec::new();
        split(RecordBatch::try_from_iter(columns).unwrap(), &mut pieces).map(|()| pieces)
    }

    /// The same rows in messages of at most 2 MiB, or of one row.
    fn check_sent_whole(column: ArrayRef) -> usize {
        let batch = RecordBatch::try_from_iter([("c", column.clone())]).unwrap();
        let pieces = pieces(vec![("c", column)]).unwrap();
        let mut encoder = Encoder::default();
        for piece in &pieces {
            let sent = encoder.batch(piece).unwrap().encoded_len();
            assert!(sent <= MESSAGE_BYTES || piece.num_rows() == 1, "{sent} bytes");
            assert!(sent <= MAX_ROW_BYTES);
        }
        assert_eq!(concat_batches(batch.schema_ref(), &pieces).unwrap(), batch);
        pieces.len()
    }

    fn texts(rows: i64, bytes: usize) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..rows).map(|i| format!("{i}{}", "x".repeat(bytes))),
        ))
    }

    /// `rows` lists of `items` numbers each; every seventh is none, every fifth is empty.
    fn lists(rows: i64, items: i64) -> ListArray {
        ListArray::from_iter_primitive::<Int64Type, _, _>((0..rows).map(|i| {
            let items = if i % 5 == 0 { 0 } else { items };
            (i % 7 != 0).then(|| (0..items).map(Some).collect::<Vec<_>>())
        }))
    }

    fn maps(rows: i64, items: usize, bytes: usize) -> MapArray {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for i in 0..rows {
            for item in 0..items {
                maps.keys().append_value(format!("{item:0>bytes$}"));
                maps.values().append_value(i);
            }
            maps.append(i % 3 > 0).unwrap();
        }
        maps.finish()
    }

    /// One of each way in which types are written.
    fn shapes() -> Vec<ArrayRef> {
        let views = cast(&texts(100, 40), &DataType::Utf8View).unwrap();
        let list = Arc::new(lists(100, 9)) as ArrayRef;
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
            (0..100).map(|i| (i % 3 > 0).then_some([Some(i), None, Some(3)])),
            3,
        );
        let of_views = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)));
        let runs: RunArray<Int32Type> = (0..100).map(|i| if i % 9 < 5 { "a" } else { "b" }).collect();
        let structs = StructArray::from(vec![
            (Arc::new(Field::new("v", DataType::Utf8View, true)), views.clone()),
            (Arc::new(Field::new("l", list.data_type().clone(), true)), list.clone()),
        ]);
        vec![
            Arc::new(NullArray::new(100)),
            Arc::new(
                (0..100)
                    .map(|i| (i % 4 > 0).then_some(i % 3 == 0))
                    .collect::<BooleanArray>(),
            ),
            Arc::new(Int64Array::from_iter((0..100).map(|i| (i % 4 > 0).then_some(i)))),
            Arc::new(Decimal128Array::from_iter_values(0..100)),
            Arc::new(FixedSizeBinaryArray::try_from_iter((0..100).map(|i| [i as u8; 5])).unwrap()),
            texts(100, 7),
            cast(&texts(100, 7), &DataType::LargeUtf8).unwrap(),
            cast(&texts(100, 7), &DataType::Binary).unwrap(),
            cast(&list, &DataType::LargeList(item.clone())).unwrap(),
            cast(&list, &DataType::ListView(item.clone())).unwrap(),
            cast(&list, &DataType::LargeListView(item)).unwrap(),
            cast(&list, &of_views).unwrap(),
            list,
            Arc::new(fixed),
            Arc::new(maps(100, 3, 5)),
            views,
            Arc::new(runs),
            Arc::new(structs),
        ]
    }

    #[test]
    fn what_is_measured_is_what_is_sent() {
        let mut encoder = Encoder::default();
        for column in shapes() {
            for (from, rows) in [(0, 100), (0, 8), (17, 30), (99, 1), (50, 0)] {
                let batch = RecordBatch::try_from_iter([("c", column.slice(from, rows))]).unwrap();
                let sent = encoder.batch(&batch).unwrap().encoded_len();
                let measured = message_bytes(&batch);
                let told = format!("{} [{from}; {rows}]: {measured} for {sent}", column.data_type());
                assert!((sent..=sent + SLACK).contains(&measured), "{told}");
                let Some(smaller) = compact::batch(&batch).unwrap() else {
                    continue;
                };
                assert_eq!(smaller, batch, "{told}");
                assert!(message_bytes(&smaller) <= measured, "{told}");
            }
        }
    }

    #[test]
    fn messages_are_split_by_real_bytes() {
        // One fat row among many small ones: equal row counts would leave a piece far too big.
        let texts = (0..10_000).map(|i| "x".repeat(if i == 7 { 1 << 20 } else { 300 }));
        assert!(check_sent_whole(Arc::new(StringArray::from_iter_values(texts))) > 1);
    }

    #[test]
    fn lists_and_maps_are_split_by_what_their_rows_hold() {
        // 8 MB of items in each: halved by all of them, every row would be refused.
        assert!((4..=8).contains(&check_sent_whole(Arc::new(lists(2_000, 600)))));
        assert!((4..=16).contains(&check_sent_whole(Arc::new(maps(2_000, 60, 60)))));
        let lists: ArrayRef = Arc::new(lists(2_000, 600));
        let field = Arc::new(Field::new("l", lists.data_type().clone(), true));
        assert!((4..=8).contains(&check_sent_whole(Arc::new(StructArray::from(vec![(field, lists)])))));
    }

    #[test]
    fn views_are_sent_without_what_no_row_points_to() {
        let views = cast(&texts(40, 200_000), &DataType::Utf8View).unwrap();
        assert!((4..=8).contains(&check_sent_whole(views.clone())));
        // Eight megabytes behind one row, and behind rows that need none of it.
        assert_eq!(check_sent_whole(views.slice(3, 1)), 1);
        let few: ArrayRef = Arc::new(views.as_string_view().clone().slice(0, 2));
        assert_eq!(check_sent_whole(few), 1);
    }

    #[test]
    fn a_row_between_two_and_four_mib_is_sent_alone() {
        let texts = vec!["a".to_owned(), "x".repeat(3 << 20), "b".to_owned()];
        let pieces = pieces(vec![("t", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_row_that_fits_no_message_is_an_error() {
        let text = |bytes: usize| -> ArrayRef { Arc::new(StringArray::from(vec!["x".repeat(bytes)])) };
        let view = |bytes: usize| cast(&text(bytes), &DataType::Utf8View).unwrap();
        for column in [&text as &dyn Fn(usize) -> ArrayRef, &view] {
            assert_eq!(check_sent_whole(column(MAX_ROW_BYTES - 2 * SLACK)), 1);
            // The text alone would fit.
            let refused = pieces(vec![("t", column(MAX_ROW_BYTES - 8))]);
            assert!(matches!(refused, Err(Error::Limit(_))));
        }
        let small: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert_eq!(pieces(vec![("i", small)]).unwrap().len(), 1);
    }

    #[test]
    fn a_result_without_rows_is_its_schema() {
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        let batch = RecordBatch::try_from_iter([("i", none)]).unwrap();
        assert_eq!(all(batch).unwrap().len(), 1);
    }
}

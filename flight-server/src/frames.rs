//! Batches as Flight frames: the schema first, then messages of at most 2 MiB by their real bytes.
//!
//! arrow-flight's encoder splits by row counts and grows each message's buffer from nothing; this one measures, and
//! reuses the last message's size. Columns come in the announced types, so no dictionary gets here.

use arrow_flight::{FlightData, SchemaAsIpc};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

use crate::error::{Error, Result};

/// Go clients outside ADBC take messages of 4 MiB; half of it leaves room for what surrounds the buffers.
pub const MESSAGE_BYTES: usize = 2 << 20;
/// A row cannot be split.
const MAX_ROW_BYTES: usize = 4 << 20;

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

/// Halves `batch` until each piece's buffers fit a message; an empty batch is no piece.
pub fn split(batch: RecordBatch, pieces: &mut Vec<RecordBatch>) -> Result<()> {
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let bytes = sliced_bytes(&batch)?;
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

fn sliced_bytes(batch: &RecordBatch) -> Result<usize> {
    batch
        .columns()
        .iter()
        .try_fold(0, |sum, column| Ok(sum + column.to_data().get_slice_memory_size()?))
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

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn pieces(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<RecordBatch>> {
        let mut pieces = Vec::new();
        split(RecordBatch::try_from_iter(columns).unwrap(), &mut pieces).map(|()| pieces)
    }

    #[test]
    fn messages_are_split_by_real_bytes() {
        // One fat row among many small ones: equal row counts would leave a piece far too big.
        let texts: Vec<String> = (0..10_000)
            .map(|i| "x".repeat(if i == 7 { 1 << 20 } else { 300 }))
            .collect();
        let pieces = pieces(vec![("t", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
        assert!(pieces.len() > 1);
        assert!(pieces.iter().all(|p| sliced_bytes(p).unwrap() <= MESSAGE_BYTES));
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
        let mut encoder = Encoder::default();
        for piece in &pieces {
            let message = encoder.batch(piece).unwrap();
            assert!(message.data_body.len() + message.data_header.len() < MESSAGE_BYTES + 4_096);
        }
    }

    #[test]
    fn a_row_between_two_and_four_mib_is_sent_alone() {
        let texts = vec!["a".to_owned(), "x".repeat(3 << 20), "b".to_owned()];
        let pieces = pieces(vec![("t", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap();
        assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_row_that_fits_no_message_is_an_error() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(5 << 20)]));
        assert!(matches!(pieces(vec![("t", text)]), Err(Error::Limit(_))));
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

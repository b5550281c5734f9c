//! Rows of bronze's files, whole, for the few commands that read them back. Files of dead letters are small; one is in memory at a time.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ticklake_sql::Table;

use super::rework::together;
use crate::error::{Error, Result};

/// The rows of one file in the table's file schema.
pub async fn file_rows(table: &Table, add: &Add) -> Result<RecordBatch> {
    let failed = |why: String| Error::Internal(format!("cannot read {} of {}: {why}", add.path, table.name()));
    let path = Path::parse(&add.path).map_err(|error| failed(error.to_string()))?;
    // May pass, unlike what is wrong with the file.
    let refused = |source| ticklake_sql::Error::Store {
        what: "cannot read",
        location: format!("{} of {}", add.path, table.name()),
        source,
    };
    let object = table.log_store().object_store(None).get(&path).await;
    let bytes = object.map_err(refused)?.bytes().await.map_err(refused)?;
    let schema = table.spec().file_schema();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|reader| reader.build());
    let mut batches = Vec::new();
    for batch in reader.map_err(|error| failed(error.to_string()))? {
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        let columns = schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(column) => cast(column, field.data_type()),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<Result<Vec<ArrayRef>, _>>()
            .map_err(|error| failed(error.to_string()))?;
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| failed(error.to_string()))?);
    }
    together(&schema, &batches)
}

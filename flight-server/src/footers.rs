//! Footers of data files with their page indexes, kept together.
//!
//! DataFusion asks for a footer without its page index, and reads the index where a predicate needs it, which is past the cache: once for every
//! file of every query. Here the index comes with the footer and stays with it. A file that is not there is noted at its version.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::is_gone;
use crate::version::TableVersion;

/// Readers of data files whose footers have their page index.
#[derive(Debug)]
pub struct IndexedFooters {
    pub readers: CachedParquetFileReaderFactory,
    pub version: Arc<TableVersion>,
}

impl ParquetFileReaderFactory for IndexedFooters {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        Ok(Box::new(Indexed {
            reader: self.readers.create_reader(partition, file, size_hint, metrics)?,
            version: self.version.clone(),
        }))
    }
}

struct Indexed {
    reader: Box<dyn AsyncFileReader + Send>,
    version: Arc<TableVersion>,
}

/// With its page index, where the file has one.
async fn footer(
    reader: &mut (dyn AsyncFileReader + Send),
    options: Option<&ArrowReaderOptions>,
) -> ParquetResult<Arc<ParquetMetaData>> {
    let footer = reader.get_metadata(options).await?;
    if has_index(&footer) || !is_indexed(&footer) {
        return Ok(footer);
    }
    let options = options.cloned().unwrap_or_default();
    let options = options.with_page_index_policy(PageIndexPolicy::Optional);
    reader.get_metadata(Some(&options)).await
}

fn noted<T>(found: ParquetResult<T>, version: &TableVersion) -> ParquetResult<T> {
    found.inspect_err(|error| {
        if is_gone(error) {
            version.note_missing_file();
        }
    })
}

impl AsyncFileReader for Indexed {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let version = self.version.clone();
        self.reader
            .get_bytes(range)
            .map(move |found| noted(found, &version))
            .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        let version = self.version.clone();
        let found = self.reader.get_byte_ranges(ranges);
        found.map(move |found| noted(found, &version)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let found = footer(self.reader.as_mut(), options).await;
            noted(found, &self.version)
        }
        .boxed()
    }
}

fn has_index(footer: &ParquetMetaData) -> bool {
    footer.column_index().is_some() && footer.offset_index().is_some()
}

/// The file has an index to read.
fn is_indexed(footer: &ParquetMetaData) -> bool {
    let columns = footer.row_groups().iter().flat_map(|group| group.columns());
    let mut indexed = columns.filter(|c| c.column_index_offset().is_some() && c.offset_index_offset().is_some());
    indexed.next().is_some()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::execution::runtime_env::RuntimeEnv;
    use datafusion::object_store::ObjectStoreExt;
    use datafusion::object_store::memory::InMemory;
    use datafusion::object_store::path::Path;
    use datafusion::parquet::arrow::ArrowWriter;

    use super::*;

    #[tokio::test]
    async fn a_footer_is_kept_with_its_page_index() {
        let numbers: Arc<dyn datafusion::arrow::array::Array> = Arc::new(Int64Array::from_iter_values(0..1_000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();

        let store = Arc::new(InMemory::new());
        let path = Path::from("file.parquet");
        store.put(&path, file.into()).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        let cache = RuntimeEnv::default().cache_manager.get_file_metadata_cache();
        let readers = CachedParquetFileReaderFactory::new(store.clone(), cache);
        // As DataFusion opens a file.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let opened = async || {
            let metrics = ExecutionPlanMetricsSet::new();
            let mut reader = readers.create_reader(0, meta.clone().into(), None, &metrics).unwrap();
            footer(reader.as_mut(), Some(&options)).await
        };
        assert!(has_index(&opened().await.unwrap()));
        store.delete(&path).await.unwrap();
        assert!(has_index(&opened().await.unwrap()), "nothing is read a second time");
    }
}

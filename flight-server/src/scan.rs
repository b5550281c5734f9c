//! A table at one version as DataFusion sees it: files pruned by the log's statistics, read as Parquet with cached footers.
//!
//! The file list is in memory, so planning a query reads nothing from the store.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Result as DFResult, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::files::DataFile;
use crate::footers::IndexedFooters;
use crate::skip::SkippingSource;
use crate::version::TableVersion;

/// Where the lake's own store is registered in the runtime.
pub const STORE_URL: &str = "lake://tables";

/// A table pinned at a version.
#[derive(Debug)]
pub struct PinnedTable {
    version: Arc<TableVersion>,
    /// Without field metadata, so that none reaches a result.
    schema: SchemaRef,
}

impl PinnedTable {
    pub fn new(version: Arc<TableVersion>) -> Self {
        let plain = version
            .schema()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_metadata(Default::default()));
        let schema = Arc::new(Schema::new(plain.collect::<Vec<_>>()));
        Self { version, schema }
    }

    /// The files that may hold rows for `filters`.
    fn prune<'a>(&'a self, state: &dyn Session, filters: &[Expr]) -> DFResult<Vec<&'a Arc<DataFile>>> {
        let files = self.version.files();
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(files.iter().collect());
        };
        let df_schema = DFSchema::try_from(self.schema.as_ref().clone())?;
        let predicate = state.create_physical_expr(filter, &df_schema)?;
        let Some(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(self.schema.clone())
            .build(predicate)
        else {
            return Ok(files.iter().collect());
        };
        let keep = predicate.prune(self.version.as_ref())?;
        Ok(files
            .iter()
            .zip(keep)
            .filter_map(|(file, keep)| keep.then_some(file))
            .collect())
    }

    fn statistics(&self, files: &[&Arc<DataFile>], filtered: bool) -> Statistics {
        if !filtered && files.len() == self.version.files().len() {
            return self.version.statistics().as_ref().clone();
        }
        let rows = files.iter().try_fold(0usize, |sum, f| Some(sum + f.rows?));
        let mut statistics = Statistics::new_unknown(&self.version.scan_schema());
        statistics.num_rows = match rows {
            Some(rows) if !filtered => Precision::Exact(rows),
            Some(rows) => Precision::Inexact(rows),
            None => Precision::Absent,
        };
        statistics
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DFResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DFResult<Arc<dyn ExecutionPlan>> {
        let mut files = self.prune(state, filters)?;
        if filters.is_empty() {
            take_rows(&mut files, limit);
        }
        if files.is_empty() {
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let columns = self.version.columns();
        let partition = columns.partition.clone();
        let table_schema = TableSchema::builder(columns.file_schema.clone())
            .with_table_partition_cols(partition)
            .build();
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        let store = state.runtime_env().object_store(&url)?;
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let footers = IndexedFooters {
            readers: CachedParquetFileReaderFactory::new(store, cache),
            version: self.version.clone(),
        };
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_parquet_file_reader_factory(Arc::new(footers));
        let indices = match projection {
            Some(indices) => indices.iter().map(|i| self.version.scan_index(*i)).collect(),
            None => (0..self.schema.fields().len())
                .map(|i| self.version.scan_index(i))
                .collect(),
        };
        let statistics = self.statistics(&files, !filters.is_empty());
        let groups = groups(&files, state.config().target_partitions());
        let source = SkippingSource::new(Arc::new(source), self.version.clone());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// Keeps as many files as `limit` rows need, where every file's row count is known.
fn take_rows(files: &mut Vec<&Arc<DataFile>>, limit: Option<usize>) {
    let Some(limit) = limit else { return };
    let mut rows = 0;
    let mut needed = 0;
    while rows < limit
        && let Some(file) = files.get(needed)
    {
        let Some(more) = file.rows else { return };
        rows += more;
        needed += 1;
    }
    files.truncate(needed);
}

/// Spreads the files over `partitions` groups of about equal bytes, their order kept within a group.
fn groups(files: &[&Arc<DataFile>], partitions: usize) -> Vec<FileGroup> {
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> =
        vec![Default::default(); partitions.clamp(1, files.len().max(1))];
    for file in files {
        if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            *bytes += file.file.object_meta.size.max(1);
            group.push(file.file.clone());
        }
    }
    groups
        .into_iter()
        .filter(|(_, g)| !g.is_empty())
        .map(|(_, g)| FileGroup::new(g))
        .collect()
}

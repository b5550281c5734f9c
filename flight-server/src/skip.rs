//! Passes over files that a query's running bound has ruled out, before they cost anything.
//!
//! A search for the newest rows tightens its bound as it reads. DataFusion holds that bound against each file too, but with a predicate and a set
//! of metrics made anew for every one: over a month of hourly files that is most of the query. Here one test covers all files of the version.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::ObjectStore;
use datafusion::object_store::path::Path;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::physical_expr::{snapshot_generation, snapshot_physical_expr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};

use crate::version::TableVersion;

/// A file source whose files are those of one version of a table.
#[derive(Clone)]
pub struct SkippingSource {
    files: Arc<dyn FileSource>,
    version: Arc<TableVersion>,
}

impl SkippingSource {
    pub fn new(files: Arc<dyn FileSource>, version: Arc<TableVersion>) -> Self {
        Self { files, version }
    }

    fn around(&self, files: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self::new(files, self.version.clone()))
    }
}

impl FileSource for SkippingSource {
    fn create_file_opener(&self, _: Arc<dyn ObjectStore>, _: &FileScanConfig, _: usize) -> Result<Arc<dyn FileOpener>> {
        internal_err!("files of a table are opened by morsels")
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let files = self.files.create_morselizer(store, config, partition)?;
        Ok(match self.files.filter() {
            Some(predicate) if snapshot_generation(&predicate) != 0 => Box::new(Skipping {
                files,
                bound: Bound::new(predicate, self.version.clone()),
            }),
            _ => files,
        })
    }

    fn table_schema(&self) -> &TableSchema {
        self.files.table_schema()
    }

    fn with_batch_size(&self, rows: usize) -> Arc<dyn FileSource> {
        self.around(self.files.with_batch_size(rows))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.files.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.files.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.files.metrics()
    }

    fn file_type(&self) -> &str {
        self.files.file_type()
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt_extra(format, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.files.supports_repartitioning()
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let mut pushed = self.files.try_pushdown_filters(filters, config)?;
        pushed.updated_node = pushed.updated_node.map(|files| self.around(files));
        Ok(pushed)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let pushed = self.files.try_pushdown_sort(order, properties)?;
        Ok(pushed.map(|files| self.around(files)))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.files.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.files.try_pushdown_projection(projection)?;
        Ok(pushed.map(|files| self.around(files)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.files.apply_expressions(f)
    }
}

#[derive(Debug)]
struct Skipping {
    files: Box<dyn Morselizer>,
    bound: Bound,
}

impl Morselizer for Skipping {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        if self.bound.rules_out(&file.object_meta.location)? {
            return Ok(Box::new(NoRows));
        }
        self.files.plan_file(file)
    }
}

#[derive(Debug)]
struct NoRows;

impl MorselPlanner for NoRows {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(None)
    }
}

/// What the predicate, as it stands now, says of every file.
struct Bound {
    predicate: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    version: Arc<TableVersion>,
    tested: Mutex<Tested>,
}

#[derive(Default)]
struct Tested {
    /// Of the predicate when all files were last held against it.
    generation: u64,
    ruled_out: HashSet<Path>,
    opened: usize,
    /// The bound may move with every file: the next test waits until twice as many are open, so that tests cost little beside the files.
    next_at: usize,
}

impl Bound {
    fn new(predicate: Arc<dyn PhysicalExpr>, version: Arc<TableVersion>) -> Self {
        Self {
            predicate,
            schema: Arc::new(version.scan_schema()),
            version,
            tested: Mutex::default(),
        }
    }

    fn rules_out(&self, file: &Path) -> Result<bool> {
        let mut tested = self.tested.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = snapshot_generation(&self.predicate);
        if generation != tested.generation && tested.opened >= tested.next_at {
            tested.generation = generation;
            tested.next_at = tested.opened * 2;
            tested.ruled_out = self.test()?;
        }
        let ruled_out = tested.ruled_out.contains(file);
        tested.opened += usize::from(!ruled_out);
        Ok(ruled_out)
    }

    fn test(&self) -> Result<HashSet<Path>> {
        let now = snapshot_physical_expr(self.predicate.clone())?;
        let Some(predicate) = PruningPredicateBuilder::new()
            .with_file_schema(self.schema.clone())
            .build(now)
        else {
            return Ok(HashSet::new());
        };
        let keep = predicate.prune(self.version.as_ref())?;
        let files = self.version.files().iter().zip(keep);
        Ok(files
            .filter(|(_, keep)| !keep)
            .map(|(file, _)| file.file.object_meta.location.clone())
            .collect())
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bound({})", self.predicate)
    }
}

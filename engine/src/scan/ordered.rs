//! A set of data files as a table that DataFusion scans: pruned by bounds, spread over partitions by bytes, each file in its stored order.
//!
//! Every file carries the table's sort key as its own order. Files may overlap, so the scan as a whole promises none; what needs
//! neighbours together (the bar aggregate) uses the order inside a file, and stays right where a file does not keep it.
//!
//! A table whose partition columns were changed has files of both kinds in its past, which a refresh that is behind still reads: each file is read by the
//! columns of its own folder.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, ToDFSchema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path;
use ticklake_sql::Table;
use ticklake_sql::ddl::TableSpec;

use super::bounds::{always_holds, prune};
use super::file::DataFile;

/// Bytes read from a file's end at first: footer and page index of a file of the usual size in one request.
const FOOTER_BYTES: usize = 64 << 10;
/// A file above this is split between partitions at its row groups.
const SPLIT_BYTES: u64 = 8 << 20;

/// Files of one table at one moment. Strings are views.
#[derive(Debug)]
pub struct OrderedScan {
    table: Table,
    files: Vec<Arc<DataFile>>,
    /// The table's own first; another for each other set of partition columns among the files.
    layouts: Vec<Layout>,
}

/// How the columns of the table are spread over file and folder.
#[derive(Debug)]
struct Layout {
    columns: BTreeSet<String>,
    table_schema: TableSchema,
    order: Option<LexOrdering>,
}

impl Layout {
    fn new(spec: &TableSpec) -> Result<Self> {
        let partition_fields: Vec<FieldRef> = spec
            .partition_columns
            .iter()
            .map(|column| Ok(viewed(spec.schema.field_with_name(column)?)))
            .collect::<Result<_>>()?;
        let file_fields: Vec<FieldRef> = spec.file_schema().fields().iter().map(|field| viewed(field)).collect();
        let table_schema = TableSchema::builder(Arc::new(Schema::new(file_fields)))
            .with_table_partition_cols(partition_fields)
            .build();
        let schema = table_schema.table_schema();
        let key: Vec<PhysicalSortExpr> = spec
            .sort_columns
            .iter()
            .map(|column| {
                Ok(PhysicalSortExpr::new(
                    col(column, schema)?,
                    SortOptions {
                        descending: false,
                        nulls_first: false,
                    },
                ))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            columns: spec.partition_columns.iter().cloned().collect(),
            order: LexOrdering::new(key),
            table_schema,
        })
    }

    /// A file of which only a Remove without its folder's values is known is taken for one of the table's own.
    fn holds(&self, file: &DataFile) -> bool {
        let values = &file.add.partition_values;
        values.len() == self.columns.len() && self.columns.iter().all(|column| values.contains_key(column))
    }
}

impl OrderedScan {
    pub fn new(table: Table, files: Vec<Arc<DataFile>>) -> Result<Self> {
        let mut layouts = vec![Layout::new(table.spec())?];
        for file in &files {
            if file.add.partition_values.is_empty() || layouts.iter().any(|layout| layout.holds(file)) {
                continue;
            }
            let columns: Vec<&str> = file.add.partition_values.keys().map(String::as_str).collect();
            let spec = table.spec().partitioned_by(&columns);
            let spec = spec.map_err(|error| DataFusionError::External(Box::new(error)))?;
            layouts.push(Layout::new(&spec)?);
        }
        Ok(Self { table, files, layouts })
    }

    /// Place among the layouts.
    fn layout_of(&self, file: &DataFile) -> usize {
        self.layouts.iter().position(|layout| layout.holds(file)).unwrap_or(0)
    }

    fn partitioned(layout: &Layout, file: &DataFile) -> Result<PartitionedFile> {
        let values = layout.table_schema.table_partition_cols().iter().map(|field| {
            let text = file.add.partition_values.get(field.name()).and_then(Option::as_ref);
            text.map_or_else(
                || ScalarValue::try_from(field.data_type()),
                |text| ScalarValue::try_from_string(text.clone(), field.data_type()),
            )
        });
        let meta = ObjectMeta {
            location: Path::parse(&file.add.path).map_err(object_store::Error::from)?,
            last_modified: chrono::DateTime::from_timestamp_millis(file.add.modification_time).unwrap_or_default(),
            size: u64::try_from(file.add.size).unwrap_or(0),
            e_tag: None,
            version: None,
        };
        Ok(PartitionedFile::new_from_meta(meta)
            .with_partition_values(values.collect::<Result<_>>()?)
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_ordering(layout.order.clone()))
    }

    /// Neighbouring files go to one partition; all partitions get about the same bytes.
    fn groups(layout: &Layout, mut files: Vec<Arc<DataFile>>, partitions: usize) -> Result<Vec<FileGroup>> {
        files.sort_by(|a, b| (a.micros("ts"), &a.add.path).cmp(&(b.micros("ts"), &b.add.path)));
        let total: u64 = files.iter().map(|file| u64::try_from(file.add.size).unwrap_or(0)).sum();
        let share = total.div_ceil(partitions as u64).max(1);
        let mut groups = vec![Vec::new()];
        let mut filled = 0;
        for file in files {
            let file = Self::partitioned(layout, &file)?;
            let size = file.object_meta.size;
            let mut at = 0;
            loop {
                if filled >= share && groups.len() < partitions {
                    groups.push(Vec::new());
                    filled = 0;
                }
                let is_last = groups.len() == partitions;
                let room = share - filled.min(share);
                let until = if size <= SPLIT_BYTES || is_last {
                    size
                } else {
                    size.min(at + room.max(1))
                };
                let part = if at == 0 && until == size {
                    file.clone()
                } else {
                    file.clone().with_range(at as i64, until as i64)
                };
                filled += until - at;
                if let Some(group) = groups.last_mut() {
                    group.push(part);
                }
                at = until;
                if at >= size {
                    break;
                }
            }
        }
        Ok(groups
            .into_iter()
            .filter(|group| !group.is_empty())
            .map(FileGroup::new)
            .collect())
    }
}

#[async_trait]
impl TableProvider for OrderedScan {
    fn schema(&self) -> SchemaRef {
        self.layouts[0].table_schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A filter that the bounds prove for every file is dropped from the plan, with the column that only it needs.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.schema();
        let support = |filter: &&Expr| {
            Ok(if always_holds(&self.files, filter, &schema)? {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            })
        };
        filters.iter().map(support).collect()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let mut unproven = Vec::new();
        for filter in filters {
            if !always_holds(&self.files, filter, &schema)? {
                unproven.push(filter.clone());
            }
        }
        let filter = conjunction(unproven);
        let mut files = self.files.clone();
        if let Some(filter) = &filter {
            files = prune(&files, filter, &schema)?;
        }
        let mut plans = Vec::new();
        for (number, layout) in self.layouts.iter().enumerate() {
            let files: Vec<_> = files
                .iter()
                .filter(|file| self.layout_of(file) == number)
                .cloned()
                .collect();
            if files.is_empty() {
                continue;
            }
            let own = layout.table_schema.table_schema();
            let mut source = ParquetSource::new(layout.table_schema.clone())
                .with_table_parquet_options(state.table_options().parquet.clone());
            if let Some(filter) = &filter {
                let df_schema = own.clone().to_dfschema()?;
                source = source.with_predicate(state.create_physical_expr(filter.clone(), &df_schema)?);
            }
            // The same columns in the same places, wherever they are in this layout.
            let projection = match (number, projection) {
                (0, projection) => projection.cloned(),
                (_, projection) => {
                    let wanted = projection.map_or_else(|| (0..schema.fields().len()).collect(), Vec::clone);
                    let places = wanted.iter().map(|place| own.index_of(schema.field(*place).name()));
                    Some(places.collect::<Result<Vec<usize>, _>>()?)
                }
            };
            let groups = Self::groups(layout, files, state.config().target_partitions().max(1))?;
            let config = FileScanConfigBuilder::new(self.table.log_store().object_store_url(), Arc::new(source))
                .with_file_groups(groups)
                .with_projection_indices(projection)?
                .with_limit(limit)
                .build();
            plans.push(DataSourceExec::from_data_source(config) as Arc<dyn ExecutionPlan>);
        }
        match (plans.pop(), plans.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                plans.push(last);
                UnionExec::try_new(plans)
            }
            (None, _) => {
                let projected = match projection {
                    Some(columns) => Arc::new(schema.project(columns)?),
                    None => schema,
                };
                Ok(Arc::new(EmptyExec::new(projected)))
            }
        }
    }
}

fn viewed(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

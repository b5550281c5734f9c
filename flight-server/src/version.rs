//! One version of one table: its files, and their statistics as columns for pruning. Immutable and shared.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ScalarValue, Statistics};
use deltalake::kernel::Add;
use ticklake_sql::TableName;
use ticklake_sql::ddl::TableSpec;
use ticklake_sql::log::LogEntry;

use crate::error::Result;
use crate::files::{Columns, DataFile};

#[derive(Debug)]
pub struct TableVersion {
    name: TableName,
    version: u64,
    /// Milliseconds since the epoch; None where the commit does not tell.
    committed_ms: Option<i64>,
    spec: Arc<TableSpec>,
    columns: Arc<Columns>,
    by_path: BTreeMap<Arc<str>, Arc<DataFile>>,
    /// In the order of a scan; made for the first one that asks.
    files: OnceLock<Vec<Arc<DataFile>>>,
    statistics: OnceLock<Arc<Statistics>>,
    /// A query did not find one of its files.
    misses_a_file: AtomicBool,
    pruning: Mutex<HashMap<(usize, Which), Option<ArrayRef>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    Min,
    Max,
    Nulls,
}

impl TableVersion {
    pub fn new(
        spec: Arc<TableSpec>,
        version: u64,
        committed_ms: Option<i64>,
        adds: impl IntoIterator<Item = Add>,
    ) -> Result<Self> {
        let partition = spec
            .schema
            .fields()
            .iter()
            .filter(|f| spec.partition_columns.contains(f.name()));
        let plain =
            |f: &datafusion::arrow::datatypes::FieldRef| Arc::new(f.as_ref().clone().with_metadata(HashMap::new()));
        let columns = Arc::new(Columns {
            file_schema: Arc::new(Schema::new(
                spec.file_schema().fields().iter().map(plain).collect::<Vec<_>>(),
            )),
            partition: partition.map(plain).collect(),
            root: spec.name.path(),
        });
        let by_path = adds
            .into_iter()
            .map(|add| Ok(keyed(DataFile::from_add(&add, &columns)?)))
            .collect::<Result<_>>()?;
        Ok(Self::assemble(spec, columns, version, committed_ms, by_path))
    }

    /// The version after `entries`, which follow this one without a hole and change no metadata.
    pub fn after(&self, entries: &[LogEntry]) -> Result<Self> {
        let mut by_path = self.by_path.clone();
        for entry in entries {
            for remove in &entry.removes {
                by_path.remove(remove.path.as_str());
            }
            by_path.extend(
                entry
                    .adds
                    .iter()
                    .map(|add| DataFile::from_add(add, &self.columns).map(keyed))
                    .collect::<Result<Vec<_>>>()?,
            );
        }
        let (version, committed_ms) = match entries.last() {
            Some(last) => (
                last.version,
                last.info.as_ref().and_then(|i| i.in_commit_timestamp.or(i.timestamp)),
            ),
            None => (self.version, self.committed_ms),
        };
        Ok(Self::assemble(
            self.spec.clone(),
            self.columns.clone(),
            version,
            committed_ms,
            by_path,
        ))
    }

    /// The same with only the files that `keep` says.
    pub fn only(&self, keep: impl Fn(&DataFile) -> bool) -> Self {
        let kept = self.by_path.iter().filter(|(_, file)| keep(file));
        Self::assemble(
            self.spec.clone(),
            self.columns.clone(),
            self.version,
            self.committed_ms,
            kept.map(|(path, file)| (path.clone(), file.clone())).collect(),
        )
    }

    pub fn holds(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The same with only the files that may hold rows of one of `times`, microseconds.
    pub fn holding(&self, times: &BTreeSet<i64>) -> Self {
        let time = self.time_column();
        self.only(|file| {
            let (from, to) = span(file, time);
            from <= to && times.range(from..=to).next().is_some()
        })
    }

    /// The same with only the files that may hold rows of `us` or later.
    pub fn since(&self, us: i64) -> Self {
        let time = self.time_column();
        self.only(|file| span(file, time).1 >= us)
    }

    /// From and to which time the rows of each file lie, microseconds; all of time where its statistics do not tell.
    pub fn spans_us(&self) -> Vec<(i64, i64)> {
        let time = self.time_column();
        self.by_path.values().map(|file| span(file, time)).collect()
    }

    fn assemble(
        spec: Arc<TableSpec>,
        columns: Arc<Columns>,
        version: u64,
        committed_ms: Option<i64>,
        by_path: BTreeMap<Arc<str>, Arc<DataFile>>,
    ) -> Self {
        Self {
            name: spec.name.clone(),
            version,
            committed_ms,
            spec,
            columns,
            by_path,
            files: OnceLock::new(),
            statistics: OnceLock::new(),
            misses_a_file: AtomicBool::new(false),
            pruning: Mutex::default(),
        }
    }

    pub fn note_missing_file(&self) {
        self.misses_a_file.store(true, Ordering::Relaxed);
    }

    pub fn misses_a_file(&self) -> bool {
        self.misses_a_file.load(Ordering::Relaxed)
    }

    pub fn has_same_files(&self, other: &Self) -> bool {
        self.by_path.len() == other.by_path.len() && self.by_path.keys().eq(other.by_path.keys())
    }

    pub fn name(&self) -> &TableName {
        &self.name
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn committed_ms(&self) -> Option<i64> {
        self.committed_ms
    }

    pub fn spec(&self) -> &Arc<TableSpec> {
        &self.spec
    }

    /// In the order of the definition, comments in the metadata.
    pub fn schema(&self) -> &SchemaRef {
        &self.spec.schema
    }

    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Newest first: a LIMIT without an order shows recent rows, and a search for the latest ones skips the other files.
    pub fn files(&self) -> &[Arc<DataFile>] {
        self.files.get_or_init(|| {
            let time = self.time_column();
            let mut files: Vec<_> = self.by_path.values().map(|f| (latest(f, time), f.clone())).collect();
            files.sort_by(|(a_time, a), (b_time, b)| {
                b.file
                    .partition_values
                    .partial_cmp(&a.file.partition_values)
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then_with(|| b_time.cmp(a_time))
                    .then_with(|| a.path.cmp(&b.path))
            });
            files.into_iter().map(|(_, file)| file).collect()
        })
    }

    /// Place among the file columns of the time that rows are sorted by.
    fn time_column(&self) -> Option<usize> {
        let schema = &self.columns.file_schema;
        self.spec
            .sort_columns
            .iter()
            .filter_map(|name| schema.index_of(name).ok())
            .find(|i| matches!(schema.field(*i).data_type(), DataType::Timestamp(_, _)))
    }

    /// File columns, then partition columns.
    pub fn scan_schema(&self) -> Schema {
        let fields = self
            .columns
            .file_schema
            .fields()
            .iter()
            .chain(&self.columns.partition)
            .cloned();
        Schema::new(fields.collect::<Vec<_>>())
    }

    /// Place in the scan of column `index` of [`Self::schema`].
    pub fn scan_index(&self, index: usize) -> usize {
        let name = self.spec.schema.field(index).name();
        match self.columns.file_schema.index_of(name) {
            Ok(place) => place,
            Err(_) => {
                let place = self
                    .columns
                    .partition
                    .iter()
                    .position(|f| f.name() == name)
                    .unwrap_or_default();
                self.columns.file_schema.fields().len() + place
            }
        }
    }

    /// Statistics of the whole table; a bound is exact only where every file's is a value that a row has.
    pub fn statistics(&self) -> &Arc<Statistics> {
        self.statistics.get_or_init(|| Arc::new(self.sum_up()))
    }

    fn sum_up(&self) -> Statistics {
        let schema = self.scan_schema();
        let unknown = Statistics::new_unknown(&schema);
        let all = self.files().iter().filter_map(|f| f.file.statistics.as_deref());
        let Ok(mut sum) = Statistics::try_merge_iter(all, &schema) else {
            return unknown;
        };
        if self.files().is_empty() || self.files().iter().any(|f| f.rows.is_none()) {
            return unknown;
        }
        for (i, column) in sum.column_statistics.iter_mut().enumerate() {
            column.sum_value = Precision::Absent;
            column.distinct_count = Precision::Absent;
            if !self.files().iter().all(|f| f.tight.get(i).copied().unwrap_or(false)) {
                column.min_value = std::mem::take(&mut column.min_value).to_inexact();
                column.max_value = std::mem::take(&mut column.max_value).to_inexact();
            }
        }
        sum
    }

    fn column(&self, column: &Column, which: Which) -> Option<ArrayRef> {
        let index = self.spec.schema.index_of(column.name()).ok()?;
        let place = self.scan_index(index);
        let mut cache = self.pruning.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .entry((place, which))
            .or_insert_with(|| self.build(index, place, which))
            .clone()
    }

    fn build(&self, index: usize, place: usize, which: Which) -> Option<ArrayRef> {
        let columns = self
            .files()
            .iter()
            .map(|f| f.file.statistics.as_ref().and_then(|s| s.column_statistics.get(place)));
        if which == Which::Nulls {
            let counts = columns.map(|c| {
                c.and_then(|c| c.null_count.get_value())
                    .and_then(|n| u64::try_from(*n).ok())
            });
            return Some(Arc::new(counts.collect::<UInt64Array>()));
        }
        let none = ScalarValue::try_from(self.spec.schema.field(index).data_type()).ok()?;
        let values = columns.map(|c| {
            let bound = c.and_then(|c| {
                if which == Which::Min {
                    c.min_value.get_value()
                } else {
                    c.max_value.get_value()
                }
            });
            bound.cloned().unwrap_or_else(|| none.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

/// The greatest time in the file, microseconds.
fn latest(file: &DataFile, time: Option<usize>) -> Option<i64> {
    let statistics = file.file.statistics.as_ref()?;
    micros(statistics.column_statistics.get(time?)?.max_value.get_value()?)
}

/// And the least.
fn earliest(file: &DataFile, time: Option<usize>) -> Option<i64> {
    let statistics = file.file.statistics.as_ref()?;
    micros(statistics.column_statistics.get(time?)?.min_value.get_value()?)
}

/// From and to which time the file's rows lie; all of time where its statistics do not tell.
fn span(file: &DataFile, time: Option<usize>) -> (i64, i64) {
    (
        earliest(file, time).unwrap_or(i64::MIN),
        latest(file, time).unwrap_or(i64::MAX),
    )
}

fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMicrosecond(us, _) => *us,
        _ => None,
    }
}

fn keyed(file: DataFile) -> (Arc<str>, Arc<DataFile>) {
    (file.path.clone(), Arc::new(file))
}

impl PruningStatistics for TableVersion {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, Which::Min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, Which::Max)
    }

    fn num_containers(&self) -> usize {
        self.files().len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.column(column, Which::Nulls)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts = self.files().iter().map(|f| f.rows.and_then(|n| u64::try_from(n).ok()));
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

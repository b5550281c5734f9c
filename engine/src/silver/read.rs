//! Reading data files: chosen columns of whole files, the keys of a file, the rows of a file that have one of the wanted keys.
//! Decoding is CPU-bound, so callers run these futures through [`off_runtime`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::{cast, concat, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use ticklake_sql::Table;

use super::columns::{micros, strings};
use super::file_reader::FileReader;
use super::key::{Key, Keys};
use super::ranges::Ranges;
use crate::error::Step;
use crate::{Error, Result};

/// Rows of a batch while decoding.
const BATCH_ROWS: usize = 64 * 1024;

/// Files whose footers and pages are under way at once.
const FILES_AT_ONCE: usize = 8;

const KEY_COLUMNS: [&str; 4] = ["venue", "symbol", "kind", "trade_id"];

/// A data file as an Add names it.
#[derive(Debug, Clone)]
pub struct FileRef {
    pub path: String,
    pub size_bytes: i64,
    pub partition_values: HashMap<String, Option<String>>,
}

impl FileRef {
    pub fn of(add: &Add) -> Self {
        Self {
            path: add.path.clone(),
            size_bytes: add.size,
            partition_values: add.partition_values.clone(),
        }
    }

    /// The batch with the columns that its file lacks because the table is partitioned by them, as texts.
    fn placed(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let given = |column: &&String| batch.column_by_name(column).is_none();
        let missing: Vec<_> = self.partition_values.keys().filter(given).collect();
        if missing.is_empty() {
            return Ok(batch);
        }
        let mut fields = batch.schema().fields().to_vec();
        let mut columns = batch.columns().to_vec();
        for column in missing {
            let value = self.partition_values.get(column).and_then(Option::as_deref);
            fields.push(Arc::new(Field::new(column, DataType::Utf8, true)));
            columns.push(Arc::new(
                std::iter::repeat_n(value, batch.num_rows()).collect::<StringArray>(),
            ));
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).step("read the columns of a partition")
    }
}

/// Rows of a file that have a wanted key.
#[derive(Debug)]
pub struct Found {
    pub rows: RecordBatch,
    /// Key and row number in the file of each row.
    pub keys: Vec<Key>,
    pub row_numbers: Vec<u64>,
}

/// Runs CPU-bound asynchronous work on the blocking pool.
pub async fn off_runtime<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    let worker = tokio::task::spawn_blocking(move || runtime.block_on(work));
    worker
        .await
        .map_err(|error| Error::Internal(format!("a worker thread ended early: {error}")))?
}

/// All rows of the files in columns of `schema`, a subset of the table's file columns.
pub async fn rows(table: &Table, files: &[FileRef], schema: &SchemaRef) -> Result<RecordBatch> {
    let reads = files
        .iter()
        .cloned()
        .map(|file| whole(table.clone(), file, Arc::clone(schema)));
    let batches: Vec<Vec<RecordBatch>> = stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await?;
    together(schema, batches.into_iter().flatten().collect()).step("put the rows of a chunk together")
}

/// One batch of them all, a column at a time: no more than one column is in memory twice.
fn together(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<RecordBatch, ArrowError> {
    if batches.len() < 2 {
        return Ok(batches
            .into_iter()
            .next()
            .unwrap_or_else(|| RecordBatch::new_empty(schema.clone())));
    }
    let mut parts: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(batches.len()); schema.fields().len()];
    for batch in batches {
        for (column, part) in parts.iter_mut().zip(batch.columns()) {
            column.push(part.clone());
        }
    }
    let columns = parts.into_iter().map(|parts| {
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        concat(&parts)
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

async fn whole(table: Table, file: FileRef, schema: SchemaRef) -> Result<Vec<RecordBatch>> {
    let reader = open(&table, &file).await?;
    let mask = ProjectionMask::columns(
        reader.parquet_schema(),
        schema.fields().iter().map(|field| field.name().as_str()),
    );
    let mut batches = reader
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(decode(&table, &file))?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(decode(&table, &file))? {
        let batch = file.placed(batch)?;
        rows.push(conform(&batch, &schema)?);
    }
    Ok(rows)
}

/// The ranges of a file whose Add does not tell them. `filter`: only rows where this column has this value count, and they move no
/// watermark (quarantine); `None`: every row counts (silver).
pub async fn ranges(table: &Table, file: &FileRef, filter: Option<(&str, &str)>) -> Result<Ranges> {
    let reader = open(table, file).await?;
    let columns = KEY_COLUMNS
        .into_iter()
        .chain(["ts"])
        .chain(filter.map(|(column, _)| column));
    let mask = ProjectionMask::columns(reader.parquet_schema(), columns);
    let mut batches = reader
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(decode(table, file))?;
    let mut keys = Keys::default();
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(decode(table, file))? {
        let batch = file.placed(batch)?;
        let columns = KeyColumns::new(&batch)?;
        let ts = micros(&batch, "ts")?;
        let wanted = filter
            .map(|(column, value)| Ok::<_, Error>((strings(&batch, column)?, value)))
            .transpose()?;
        for row in 0..batch.num_rows() {
            match wanted {
                Some((column, value)) if column.value(row) != value => {}
                Some(_) => found.push((columns.key(&mut keys, row), None)),
                None => found.push((columns.key(&mut keys, row), Some(ts.value(row)))),
            }
        }
    }
    Ok(Ranges::of(&keys, found.into_iter()))
}

/// Rows of the file whose key is among `wanted`, in columns of `schema`. Row groups are pruned by symbol: silver's files are sorted by it.
pub async fn matching(
    table: &Table,
    file: &FileRef,
    schema: &SchemaRef,
    keys: &mut Keys,
    wanted: &HashSet<Key>,
) -> Result<Found> {
    let symbols: BTreeSet<Box<str>> = wanted
        .iter()
        .map(|key| key.group)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|group| keys.groups()[group as usize].symbol.clone())
        .collect();
    let reader = open(table, file).await?;
    let mut first_row = 0u64;
    let mut row_groups = Vec::new();
    for (number, row_group) in reader.metadata().row_groups().iter().enumerate() {
        let rows = u64::try_from(row_group.num_rows()).unwrap_or(0);
        if may_hold(row_group, &symbols) {
            row_groups.push((number, first_row));
        }
        first_row += rows;
    }

    let (mut found_keys, mut row_numbers) = (Vec::new(), Vec::new());
    for (number, first_row) in row_groups {
        let reader = open(table, file)
            .await?
            .with_row_groups(vec![number])
            .with_batch_size(BATCH_ROWS);
        let mask = ProjectionMask::columns(reader.parquet_schema(), KEY_COLUMNS);
        let mut batches = reader.with_projection(mask).build().map_err(decode(table, file))?;
        let mut row_number = first_row;
        while let Some(batch) = batches.try_next().await.map_err(decode(table, file))? {
            let batch = file.placed(batch)?;
            let columns = KeyColumns::new(&batch)?;
            for row in 0..batch.num_rows() {
                if let Some(key) = columns.find(keys, row).filter(|key| wanted.contains(key)) {
                    found_keys.push(key);
                    row_numbers.push(row_number + row as u64);
                }
            }
            row_number += batch.num_rows() as u64;
        }
    }
    let rows = picked(table, file, schema, &row_numbers).await?;
    if rows.num_rows() != row_numbers.len() {
        return Err(Error::Internal(format!(
            "{} of {} wanted rows came out of {}",
            rows.num_rows(),
            row_numbers.len(),
            file.path
        )));
    }
    Ok(Found {
        rows,
        keys: found_keys,
        row_numbers,
    })
}

/// Numbers of the rows whose symbol and ts are wanted, and how many rows there are.
pub async fn rows_where(
    table: &Table,
    file: &FileRef,
    wanted: impl Fn(&str, i64) -> bool,
) -> Result<(HashSet<u64>, u64)> {
    let reader = open(table, file).await?;
    let mask = ProjectionMask::columns(reader.parquet_schema(), ["symbol", "ts"]);
    let mut batches = reader
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(decode(table, file))?;
    let (mut rows, mut row_number) = (HashSet::new(), 0u64);
    while let Some(batch) = batches.try_next().await.map_err(decode(table, file))? {
        let batch = file.placed(batch)?;
        let (symbol, ts) = (strings(&batch, "symbol")?, micros(&batch, "ts")?);
        rows.extend(
            (0..batch.num_rows())
                .filter(|row| wanted(symbol.value(*row), ts.value(*row)))
                .map(|row| row_number + row as u64),
        );
        row_number += batch.num_rows() as u64;
    }
    Ok((rows, row_number))
}

/// The rows with these numbers, which grow.
async fn picked(table: &Table, file: &FileRef, schema: &SchemaRef, row_numbers: &[u64]) -> Result<RecordBatch> {
    if row_numbers.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let reader = open(table, file).await?;
    let total = reader.metadata().file_metadata().num_rows();
    let ranges = row_numbers
        .iter()
        .filter_map(|row| usize::try_from(*row).ok())
        .map(|row| row..row + 1);
    let selection = RowSelection::from_consecutive_ranges(ranges, usize::try_from(total).unwrap_or(0));
    let mask = ProjectionMask::columns(
        reader.parquet_schema(),
        schema.fields().iter().map(|field| field.name().as_str()),
    );
    let mut batches = reader
        .with_projection(mask)
        .with_row_selection(selection)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(decode(table, file))?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(decode(table, file))? {
        let batch = file.placed(batch)?;
        rows.push(conform(&batch, schema)?);
    }
    concat_batches(schema, &rows).step("put the rows of a key together")
}

/// The file's rows without the given row numbers, in pieces of at most `piece_rows` or one decoded batch more, in the file's order.
pub async fn without(
    table: &Table,
    file: &FileRef,
    schema: &SchemaRef,
    gone: &HashSet<u64>,
    piece_rows: usize,
) -> Result<Vec<Vec<RecordBatch>>> {
    let reader = open(table, file).await?.with_batch_size(BATCH_ROWS);
    let mut batches = reader.build().map_err(decode(table, file))?;
    let (mut pieces, mut piece, mut rows_in_piece, mut row_number) = (Vec::new(), Vec::new(), 0, 0u64);
    while let Some(batch) = batches.try_next().await.map_err(decode(table, file))? {
        let batch = file.placed(batch)?;
        let stays: BooleanArray = (0..batch.num_rows() as u64)
            .map(|row| Some(!gone.contains(&(row_number + row))))
            .collect();
        row_number += batch.num_rows() as u64;
        let batch = conform(
            &filter_record_batch(&batch, &stays).step("leave superseded rows out")?,
            schema,
        )?;
        rows_in_piece += batch.num_rows();
        if batch.num_rows() > 0 {
            piece.push(batch);
        }
        if rows_in_piece >= piece_rows {
            pieces.push(std::mem::take(&mut piece));
            rows_in_piece = 0;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Columns that make a trade's key.
pub struct KeyColumns<'a> {
    venue: &'a arrow::array::StringArray,
    symbol: &'a arrow::array::StringArray,
    kind: &'a arrow::array::StringArray,
    trade_id: &'a arrow::array::StringArray,
}

impl<'a> KeyColumns<'a> {
    pub fn new(batch: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            venue: strings(batch, "venue")?,
            symbol: strings(batch, "symbol")?,
            kind: strings(batch, "kind")?,
            trade_id: strings(batch, "trade_id")?,
        })
    }

    pub fn key(&self, keys: &mut Keys, row: usize) -> Key {
        keys.key(
            self.venue.value(row),
            self.symbol.value(row),
            self.kind.value(row),
            self.trade_id.value(row),
        )
    }

    fn find(&self, keys: &mut Keys, row: usize) -> Option<Key> {
        keys.find(
            self.venue.value(row),
            self.symbol.value(row),
            self.kind.value(row),
            self.trade_id.value(row),
        )
    }
}

async fn open(table: &Table, file: &FileRef) -> Result<ParquetRecordBatchStreamBuilder<FileReader>> {
    let path = Path::parse(&file.path).unwrap_or_else(|_| Path::from(file.path.as_str()));
    let store = table.log_store().object_store(None);
    let reader = FileReader::new(store, path, u64::try_from(file.size_bytes).unwrap_or(0));
    ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(decode(table, file))
}

/// A failed request is the store's business and may be tried again; anything else is in the file.
fn decode<'a>(table: &'a Table, file: &'a FileRef) -> impl Fn(ParquetError) -> Error + 'a {
    |source| match source {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(source) => Error::Read {
                table: table.name().clone(),
                path: file.path.clone(),
                source,
            },
            Err(cause) => Error::Decode {
                table: table.name().clone(),
                path: file.path.clone(),
                source: ParquetError::External(cause),
            },
        },
        source => Error::Decode {
            table: table.name().clone(),
            path: file.path.clone(),
            source,
        },
    }
}

/// The batch in exactly the columns and types of `schema`; a nullable column that the file lacks is NULL.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<_, _>>()
        .step("read a column as the table defines it")?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).step("read rows as the table defines them")
}

/// False only where the statistics prove that none of the symbols is in the row group.
fn may_hold(row_group: &RowGroupMetaData, symbols: &BTreeSet<Box<str>>) -> bool {
    let column = row_group
        .columns()
        .iter()
        .find(|column| column.column_path().string() == "symbol");
    let Some(Statistics::ByteArray(statistics)) = column.and_then(|column| column.statistics()) else {
        return true;
    };
    let (Some(least), Some(greatest)) = (statistics.min_opt(), statistics.max_opt()) else {
        return true;
    };
    symbols
        .iter()
        .any(|symbol| symbol.as_bytes() >= least.data() && symbol.as_bytes() <= greatest.data())
}

/// Columns of `schema` by name, in the given order.
pub fn subset(schema: &Schema, names: &[&str]) -> Result<SchemaRef> {
    let fields = names
        .iter()
        .map(|name| schema.field_with_name(name).cloned())
        .collect::<Result<Vec<_>, _>>();
    Ok(Arc::new(Schema::new(fields.step("choose columns of a table")?)))
}

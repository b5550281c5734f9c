//! Parquet data files: rows in, an Add action with full statistics out. Nothing is visible before [`crate::commit`].

use std::collections::{BTreeMap, HashMap};

use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use deltalake::kernel::Add;
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::log_state::store_error;
use crate::{Error, Result, Table, TableName, statistics};

/// Text that hardly ever repeats: a dictionary of it is hashed first and thrown away later.
const UNREPEATED_TEXT: [&str; 2] = ["trade_id", "ref_trade_id"];

/// Bars are asked for a symbol at a time: a page holds little more than a day of one, and no dictionary of a whole file has to be read for it.
const GOLD: &str = "gold";
const BAR_PAGE_ROWS: usize = 2_048;

#[derive(Debug, Clone, Copy)]
pub struct FileOptions {
    /// zstd level of the pages.
    pub zstd_level: i32,
    /// Rows in a row group at most.
    pub row_group_rows: usize,
    /// Room made for the file before it is encoded: growing to that, it would be in memory twice.
    pub expected_bytes: usize,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            zstd_level: 1,
            row_group_rows: 1 << 20,
            expected_bytes: 0,
        }
    }
}

/// Encodes `batches` (of `spec.file_schema()`) into one Parquet file of one partition, uploads it, syncs it as the lake's durability asks.
/// `partition_values`: column -> value as text (`2026-11-21`). The Add says dataChange=true; set what else it needs afterwards.
/// CPU-bound part runs on the blocking pool.
pub async fn write(
    table: &Table,
    partition_values: BTreeMap<String, String>,
    batches: Vec<RecordBatch>,
    options: FileOptions,
) -> Result<Add> {
    partition_folder(table.name(), &table.spec().partition_columns, &partition_values)?;
    let mut encoder = Encoder::new(table, options)?;
    let encode = move || {
        for batch in &batches {
            encoder.push(batch)?;
        }
        encoder.finish()
    };
    let file = tokio::task::spawn_blocking(encode)
        .await
        .map_err(|e| Error::Internal(format!("encoding a data file failed: {e}")))??;
    file.upload(table, partition_values).await
}

/// A Parquet file in the making: takes rows as they come and keeps only their encoded pages.
pub struct Encoder {
    table: TableName,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    /// Of each column of the file.
    nulls: Vec<usize>,
}

/// A whole Parquet file in memory, which can be uploaded as often as it takes.
#[derive(Debug, Clone)]
pub struct EncodedFile {
    bytes: Bytes,
    stats: String,
}

impl Encoder {
    pub fn new(table: &Table, options: FileOptions) -> Result<Self> {
        let (table, schema) = (table.name().clone(), table.spec().file_schema());
        let failed = |source| encoding_failed(&table, source);
        // Delta's schema is in the log; a second one in Arrow's own terms would only be read by tools that skip the log.
        let arrow = ArrowWriterOptions::new()
            .with_properties(properties(&table, &schema, options).map_err(failed)?)
            .with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::with_capacity(options.expected_bytes), schema.clone(), arrow)
                .map_err(failed)?;
        let nulls = vec![0; schema.fields().len()];
        Ok(Self {
            table,
            schema,
            writer,
            rows: 0,
            nulls,
        })
    }

    /// Rows of `spec.file_schema()`. CPU-bound.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let (table, schema) = (&self.table, &self.schema);
        // Checks names by position, types, and that NOT NULL columns hold none.
        let same_names = batch
            .schema_ref()
            .fields()
            .iter()
            .map(|f| f.name())
            .eq(schema.fields().iter().map(|f| f.name()));
        let batch = if same_names {
            RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|e| e.to_string())
        } else {
            Err("its columns have other names".to_owned())
        }
        .map_err(|why| Error::Invalid(format!("rows do not fit the data files of table {table}: {why}")))?;
        self.rows += batch.num_rows();
        for (nulls, column) in self.nulls.iter_mut().zip(batch.columns()) {
            *nulls += column.null_count();
        }
        self.writer
            .write(&batch)
            .map_err(|source| encoding_failed(&self.table, source))
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Size of the file as it would be now, bytes: an estimate.
    pub fn size_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// CPU-bound. A file needs at least one row.
    pub fn finish(mut self) -> Result<EncodedFile> {
        let table = &self.table;
        if self.rows == 0 {
            return Err(Error::Invalid(format!(
                "a data file of table {table} needs at least one row"
            )));
        }
        let footer: ParquetMetaData = self.writer.finish().map_err(|source| encoding_failed(table, source))?;
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        let nulls: HashMap<&str, usize> = names.zip(self.nulls).collect();
        let stats = statistics::to_json(&self.schema, self.rows, &nulls, &footer);
        Ok(EncodedFile {
            bytes: std::mem::take(self.writer.inner_mut()).into(),
            stats,
        })
    }
}

impl EncodedFile {
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The file as it will lie in the store.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Puts the file into its partition's folder under a new name, as [`write`] does.
    pub async fn upload(&self, table: &Table, partition_values: BTreeMap<String, String>) -> Result<Add> {
        let folder = partition_folder(table.name(), &table.spec().partition_columns, &partition_values)?;
        let name = format!("{folder}part-{}.zstd.parquet", uuid::Uuid::new_v4());
        let path = Path::parse(&name).map_err(|e| Error::Internal(format!("name of a data file: {e}")))?;
        upload(table, &path, self.bytes.clone())
            .await
            .map_err(|e| store_error("cannot write the data file", &path, e))?;
        Ok(Add {
            path: name,
            partition_values: partition_values
                .into_iter()
                .map(|(column, value)| (column, Some(value)))
                .collect(),
            size: self.bytes.len() as i64,
            modification_time: table.clock().now().timestamp_millis(),
            data_change: true,
            stats: Some(self.stats.clone()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        })
    }
}

/// The statistics that the Add of a file with this footer carries. `schema`: the table's file schema.
pub fn statistics(schema: &SchemaRef, footer: &ParquetMetaData) -> String {
    statistics::of_footer(schema, footer)
}

fn encoding_failed(table: &TableName, source: ParquetError) -> Error {
    Error::Parquet {
        what: "cannot encode a data file",
        table: table.clone(),
        source,
    }
}

async fn upload(table: &Table, path: &Path, bytes: Bytes) -> object_store::Result<()> {
    let store = table.log_store().object_store(None);
    let storage = table.lake().storage();
    if bytes.len() <= storage.multipart_bytes || table.lake().is_local() {
        return store.put(path, bytes.into()).await.map(drop);
    }
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(path).await?, storage.part_bytes);
    upload.put(bytes);
    upload.finish().await.map(drop)
}

fn properties(table: &TableName, schema: &SchemaRef, options: FileOptions) -> Result<WriterProperties, ParquetError> {
    let are_bars = table.schema() == GOLD;
    let mut properties = WriterProperties::builder()
        .set_created_by(crate::ENGINE_INFO.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(options.zstd_level)?))
        .set_max_row_group_row_count(Some(options.row_group_rows))
        // The Add's statistics come from the footer: they must not be cut there.
        .set_statistics_truncate_length(None);
    for field in schema.fields() {
        let column = ColumnPath::new(vec![field.name().clone()]);
        properties = match field.data_type() {
            // Growing numbers: their differences are small where a dictionary of them overflows.
            DataType::Int64 | DataType::Timestamp(..) => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            DataType::Binary => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, EnabledStatistics::None),
            DataType::Utf8 if UNREPEATED_TEXT.contains(&field.name().as_str()) => {
                properties.set_column_dictionary_enabled(column, false)
            }
            DataType::Decimal128(..) if are_bars => properties.set_column_dictionary_enabled(column, false),
            _ => properties,
        };
    }
    if are_bars {
        properties = properties.set_data_page_row_count_limit(BAR_PAGE_ROWS);
    }
    Ok(properties.build())
}

/// `date=2026-11-21/`, one level a partition column.
fn partition_folder(table: &TableName, columns: &[String], values: &BTreeMap<String, String>) -> Result<String> {
    if values.len() != columns.len() {
        return Err(Error::Invalid(format!(
            "a data file of table {table} needs the partition values {}",
            columns.join(", ")
        )));
    }
    let mut folder = String::new();
    for column in columns {
        let value = values.get(column).filter(|v| !v.is_empty());
        let value = value.ok_or_else(|| {
            Error::Invalid(format!(
                "a data file of table {table} needs a value for partition column {column}"
            ))
        })?;
        folder.push_str(column);
        folder.push('=');
        escape(value, &mut folder);
        folder.push('/');
    }
    Ok(folder)
}

/// Hive's escaping of partition values: what cannot stand in a folder's name becomes %XX.
fn escape(value: &str, folder: &mut String) {
    for c in value.chars() {
        if c.is_ascii_control() || "\"#%'*/:=?\\{[]^~|<>`".contains(c) || !c.is_ascii() {
            for byte in c.to_string().bytes() {
                folder.push_str(&format!("%{byte:02X}"));
            }
        } else {
            folder.push(c);
        }
    }
}

//! What a merge writes: one file for each partition that its rows lie in, each read back from its encoded bytes before it counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use ticklake_sql::Table;
use ticklake_sql::data_file::{EncodedFile, Encoder, FileOptions};

use super::checksum::Checksum;
use super::order::{Keys, RowOrder};
use super::source::{BATCH_ROWS, FileRows};
use super::tags::Tags;
use crate::error::Step;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Room that is made for a file before its rows are there, at most.
const MOST_ROOM: u64 = 256 << 20;

/// Column -> value, as a file's folder says.
pub type Values = BTreeMap<String, String>;

/// A file that is encoded and proven, and lies nowhere yet.
pub struct MergedFile {
    pub file: EncodedFile,
    pub tags: Tags,
    pub partition: Values,
}

/// Where rows of a merge go.
pub struct Target {
    /// Partitioned as the files will be.
    pub table: Table,
    /// The rows of a merge: all columns but the date, whatever the table is partitioned by.
    pub schema: SchemaRef,
    pub order: RowOrder,
    pub zstd_level: i32,
    /// Places in `schema` of the columns by which rows of one merge part.
    parting: Vec<usize>,
    /// Values that all rows of a merge share.
    shared: Values,
    /// Places in `schema` of the columns that a file holds.
    stored: Vec<usize>,
}

impl Target {
    /// For the rows of `files`, which lie in one partition of `from`, or on one date of it where `to` is partitioned otherwise.
    pub fn new(from: &Table, to: &Table, files: &[Arc<DataFile>], zstd_level: i32) -> Result<Self> {
        let (spec, schema) = (to.spec(), to.spec().row_schema());
        let is_same = from.spec().partition_columns == spec.partition_columns;
        let (mut parting, mut shared) = (Vec::new(), Values::new());
        for column in &spec.partition_columns {
            match schema.index_of(column) {
                Ok(place) if !is_same => parting.push(place),
                _ => {
                    let value = files.first().and_then(|file| file.add.partition_values.get(column));
                    let value = value.cloned().flatten().ok_or_else(|| Error::Data {
                        table: from.name().clone(),
                        message: format!("a file of it has no value for {column}, by which it is partitioned"),
                    })?;
                    shared.insert(column.clone(), value);
                }
            }
        }
        let file_schema = spec.file_schema();
        let stored = file_schema.fields().iter().map(|field| schema.index_of(field.name()));
        Ok(Self {
            stored: stored
                .collect::<Result<_, _>>()
                .step("find the columns of a data file")?,
            order: RowOrder::of(spec),
            table: to.clone(),
            schema,
            zstd_level,
            parting,
            shared,
        })
    }

    /// Rows of one merge may come to several files.
    pub fn parts(&self) -> bool {
        !self.parting.is_empty()
    }

    fn partition(&self, rows: &RecordBatch, row: usize) -> Result<Values> {
        let mut values = self.shared.clone();
        for place in &self.parting {
            let text = rows.column(*place).as_string_opt::<i32>();
            let text = text.ok_or_else(|| Error::Internal("a table is partitioned by texts and dates".into()))?;
            values.insert(self.schema.field(*place).name().clone(), text.value(row).to_owned());
        }
        Ok(values)
    }

    /// Rows from `from` on that lie in the partition of its first.
    fn run(&self, rows: &RecordBatch, from: usize) -> usize {
        let is_same = |place: &usize, row: usize| {
            let texts = rows.column(*place).as_string_opt::<i32>();
            texts.is_none_or(|texts| texts.value(row) == texts.value(from))
        };
        (from..rows.num_rows())
            .take_while(|row| self.parting.iter().all(|place| is_same(place, *row)))
            .count()
    }
}

/// The files of one merge in the making.
pub struct Output<'a> {
    target: &'a Target,
    inputs: &'a [Arc<DataFile>],
    open: Option<Open>,
    files: Vec<MergedFile>,
    written: Checksum,
}

struct Open {
    partition: Values,
    encoder: Encoder,
    tags: Tags,
}

impl<'a> Output<'a> {
    pub fn new(target: &'a Target, inputs: &'a [Arc<DataFile>]) -> Self {
        Self {
            target,
            inputs,
            open: None,
            files: Vec::new(),
            written: Checksum::default(),
        }
    }

    pub fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < rows.num_rows() {
            let run = match self.target.parts() {
                true => self.target.run(rows, from),
                false => rows.num_rows(),
            };
            let partition = self.target.partition(rows, from)?;
            if self.open.as_ref().is_some_and(|open| open.partition != partition) {
                self.close()?;
            }
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(Open::new(self.target, self.inputs, partition)?),
            };
            let rows = rows.slice(from, run);
            open.tags.see(&rows)?;
            let stored = rows
                .project(&self.target.stored)
                .step("choose the columns of a data file")?;
            open.encoder.push(&stored).step("encode a merged file")?;
            from += run;
        }
        Ok(())
    }

    /// The files, and the sum of the rows that were read back from them.
    pub fn finish(mut self) -> Result<(Vec<MergedFile>, Checksum)> {
        self.close()?;
        Ok((self.files, self.written))
    }

    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let file = open.encoder.finish().step("encode a merged file")?;
        self.written.merge(read_back(self.target, &file, &open.partition)?);
        self.files.push(MergedFile {
            file,
            tags: open.tags,
            partition: open.partition,
        });
        Ok(())
    }
}

impl Open {
    fn new(target: &Target, inputs: &[Arc<DataFile>], partition: Values) -> Result<Self> {
        let bytes = inputs
            .iter()
            .map(|file| u64::try_from(file.add.size).unwrap_or(0))
            .sum::<u64>();
        let room = if target.parts() { 0 } else { bytes.min(MOST_ROOM) };
        let options = FileOptions {
            zstd_level: target.zstd_level,
            expected_bytes: usize::try_from(room).unwrap_or(0),
            ..FileOptions::default()
        };
        let adds = inputs.iter().map(|file| &file.add);
        Ok(Self {
            partition,
            encoder: Encoder::new(&target.table, options).step("encode a merged file")?,
            tags: match target.parts() {
                true => Tags::of_some(target.table.name(), adds),
                false => Tags::of(target.table.name(), adds),
            },
        })
    }
}

/// Decodes an encoded file: its rows are in order, and add up to this.
fn read_back(target: &Target, file: &EncodedFile, partition: &Values) -> Result<Checksum> {
    let values: HashMap<String, Option<String>> = partition
        .iter()
        .map(|(column, value)| (column.clone(), Some(value.clone())))
        .collect();
    let (name, bytes) = (target.table.name(), file.bytes().clone());
    let mut rows = FileRows::open(name, "a merged file", bytes, &target.schema, &values, BATCH_ROWS)?;
    let mut written = Checksum::default();
    let mut before: Option<(Keys, usize)> = None;
    while let Some(batch) = rows.next()? {
        written.add(&batch)?;
        let keys = target.order.keys(&batch)?;
        let follows = before
            .as_ref()
            .is_none_or(|(before, last)| before.compare(*last, &keys, 0).is_le());
        if !follows || !keys.is_sorted(batch.num_rows()) {
            return Err(Error::Data {
                table: name.clone(),
                message: "a merged file is out of order; nothing was changed".into(),
            });
        }
        before = Some((keys, batch.num_rows() - 1));
    }
    Ok(written)
}

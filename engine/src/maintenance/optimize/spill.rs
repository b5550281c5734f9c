//! Rows on local disk for the time of one merge: Arrow's stream format in a file without a name, gone with the process however it ends.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;

use crate::{Error, Result};

/// Bytes between the file and the codec.
const BUFFER_BYTES: usize = 256 << 10;

/// A run of rows, written from front to back.
pub struct SpillWriter {
    writer: StreamWriter<BufWriter<File>>,
}

/// The same run, read from front to back.
pub type SpillReader = StreamReader<BufReader<File>>;

impl SpillWriter {
    pub fn create(folder: Option<&Path>, schema: &SchemaRef) -> Result<Self> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        };
        let file = file.map_err(|error| {
            let place = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
            Error::Invalid(format!(
                "no spill file can be made in {}: {error}; set optimize.spill_dir to a folder with room",
                place.display()
            ))
        })?;
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Self {
            writer: StreamWriter::try_new(buffered, schema).map_err(failed)?,
        })
    }

    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(failed)
    }

    pub fn finish(mut self) -> Result<SpillReader> {
        self.writer.finish().map_err(failed)?;
        let buffered = self.writer.into_inner().map_err(failed)?;
        let mut file = buffered
            .into_inner()
            .map_err(|error| Error::Spill(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::Spill)?;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        StreamReader::try_new(reader, None).map_err(failed)
    }
}

/// A full disk is made room on; anything else is a fault of ours.
pub fn failed(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => Error::Spill(source),
        source => Error::Columns {
            step: "go through a spill file",
            source,
        },
    }
}

//! Lines of a text file, plain or compressed (told by its first bytes, not its name), with one line of look-ahead.

use std::fs::File;
use std::io::{BufRead, BufReader, Error as IoError, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A recorded line is a frame and a little around it; a longer one is not a recording.
const MAX_LINE_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 128 * 1024;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    line: String,
    number: u64,
    peeked: bool,
}

impl Lines {
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |source: IoError| Error::File {
            what: "cannot read the file to replay",
            path: path.to_owned(),
            source,
        };
        let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(cannot)?);
        let start = file.fill_buf().map_err(cannot)?;
        let input: Box<dyn BufRead + Send> = if start.starts_with(&ZSTD_MAGIC) {
            let decoder = zstd::Decoder::with_buffer(file).map_err(cannot)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else if start.starts_with(&GZIP_MAGIC) {
            Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                flate2::bufread::MultiGzDecoder::new(file),
            ))
        } else {
            Box::new(file)
        };
        Ok(Self {
            path: path.to_owned(),
            input,
            line: String::new(),
            number: 0,
            peeked: false,
        })
    }

    /// The next line that is not blank, without taking it.
    pub fn peek(&mut self) -> Result<Option<&str>> {
        while !self.peeked {
            self.line.clear();
            self.number += 1;
            let read = self.input.by_ref().take(MAX_LINE_BYTES).read_line(&mut self.line);
            match read {
                Ok(0) => return Ok(None),
                Ok(bytes) if bytes as u64 == MAX_LINE_BYTES => {
                    return Err(self.error("line is longer than any recorded frame"));
                }
                Ok(_) => self.peeked = !self.line.trim().is_empty(),
                Err(error) => return Err(self.error(&format!("cannot be read: {error}"))),
            }
        }
        Ok(Some(self.line.trim_end()))
    }

    /// The next line that is not blank.
    pub fn next(&mut self) -> Result<Option<&str>> {
        let found = self.peek()?.is_some();
        self.peeked = false;
        Ok(found.then_some(self.line.trim_end()))
    }

    /// An error at the current line.
    pub fn error(&self, message: &str) -> Error {
        Error::Session {
            path: self.path.clone(),
            line: self.number,
            message: message.to_owned(),
        }
    }
}

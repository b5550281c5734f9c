//! The text of a file, whatever container it came in: zip, gzip, zstd or plain, told by its first bytes and not by its name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::zip::ZipReader;

const BUFFER_BYTES: usize = 1 << 18;

const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Text of `file`; `read_bytes` grows by what is taken from the file itself. An error in the middle is damage: what came before stands.
pub fn open(file: File, read_bytes: Arc<AtomicU64>) -> std::io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, Counted { file, read_bytes });
    let start = input.fill_buf()?;
    Ok(if start.starts_with(ZIP_MAGIC) {
        Box::new(ZipReader::new(input))
    } else if start.starts_with(GZIP_MAGIC) {
        Box::new(MultiGzDecoder::new(input))
    } else if start.starts_with(ZSTD_MAGIC) {
        Box::new(zstd::Decoder::with_buffer(input)?)
    } else {
        Box::new(input)
    })
}

/// A file that says how far it has been read.
struct Counted {
    file: File,
    read_bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(out)?;
        self.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

//! A file of candles: plain, zip, gzip or zstd, in the form that its first line tells or that the caller names.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::candles::{self, Candle};
use super::equities;
use crate::backfill::{source, text};
use crate::{Error, Result};

/// A year of minutes as Binance writes them has 80 MB.
const MAX_BYTES: u64 = 256 << 20;

/// How a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CandleFormat {
    /// As [`candles::parse`] tells it by the row itself.
    #[default]
    Sniffed,
    /// [`equities`].
    UsEquitiesMinutes,
}

/// The candles of a local file, in the order of time.
pub fn read(path: &Path, format: CandleFormat) -> Result<Vec<Candle>> {
    let failed = |source| Error::Input {
        path: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut rows = String::new();
    let mut reader = text::open(file, Arc::default()).map_err(failed)?.take(MAX_BYTES + 1);
    reader.read_to_string(&mut rows).map_err(failed)?;
    if rows.len() as u64 > MAX_BYTES {
        return Err(Error::Invalid(format!(
            "the candles in {} are larger than {MAX_BYTES} bytes: compare fewer at once",
            path.display()
        )));
    }
    match format {
        CandleFormat::Sniffed => candles::parse(&rows),
        CandleFormat::UsEquitiesMinutes => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let date = source::date_in(&name).ok_or_else(|| {
                Error::Invalid(format!(
                    "{}: these candles count from midnight, so the name must hold the day, e.g. bac_minute_20131007.zip",
                    path.display()
                ))
            })?;
            equities::parse(&rows, date)
        }
    }
}

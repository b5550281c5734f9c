//! Settings of a backfill.

use std::path::PathBuf;

use ticklake_sql::Storage;

#[derive(Debug, Clone)]
pub struct BackfillOptions {
    /// Files, folders, globs (`data/*.zip`) and those of a bucket (`s3://bucket/prefix/*.zip`, `gs://`, `az://`).
    pub paths: Vec<String>,
    /// A shipped format, see `ticklake_sql::import::FORMATS`.
    pub format: Option<String>,
    /// A format of the user's own instead.
    pub mapping: Option<PathBuf>,
    /// `$venue` and `$symbol` of the mapping.
    pub venue: Option<String>,
    pub symbol: Option<String>,
    /// A file whose content changed since it was loaded takes the place of the old content.
    pub replace: bool,
    /// Bad lines of one file that are set aside before its load is given up.
    pub max_bad_rows: u64,
    /// For paths in a bucket, as of the lake.
    pub storage: Storage,
    /// Files that are fetched, read and encoded at once.
    pub files_at_once: usize,
    /// Threads that encode data files.
    pub encoders: usize,
    /// Text of one slice, bytes: what one data file and one commit hold. Memory is about 3 times this for each encoder and file.
    pub slice_bytes: usize,
    /// Lost races and refusals of the store before a load is given up.
    pub attempts: usize,
    pub zstd_level: i32,
}

impl Default for BackfillOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: None,
            mapping: None,
            venue: None,
            symbol: None,
            replace: false,
            max_bad_rows: 10_000,
            storage: Storage::default(),
            files_at_once: 2,
            encoders: std::thread::available_parallelism().map_or(2, usize::from),
            slice_bytes: 24 << 20,
            attempts: 8,
            zstd_level: 1,
        }
    }
}

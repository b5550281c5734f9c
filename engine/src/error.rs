//! Errors of the refreshes and their schedule. `kind()` is what callers and retry loops read.

use ticklake_sql::error::of_parquet;
use ticklake_sql::{ErrorKind, TableName};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong; the message names the key and what to write instead.
    #[error("{0}")]
    Invalid(String),
    /// The table layer failed: opening, reading or committing.
    #[error("{step}")]
    Sql {
        step: &'static str,
        #[source]
        source: Box<ticklake_sql::Error>,
    },
    /// A data file could not be fetched.
    #[error("read {path} of table {table}")]
    Read {
        table: TableName,
        path: String,
        #[source]
        source: Box<object_store::Error>,
    },
    /// A data file could not be decoded.
    #[error("decode {path} of table {table}")]
    Decode {
        table: TableName,
        path: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A plan over the tables failed.
    #[error("{step}")]
    Query {
        step: &'static str,
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
    /// Work on columns failed: a schema that is not the table's, an overflow of offsets.
    #[error("{step}")]
    Columns {
        step: &'static str,
        #[source]
        source: arrow::error::ArrowError,
    },
    /// A file to load could not be read.
    #[error("read {path}")]
    Input {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// A file to load is not what it should be; the message says what to do.
    #[error("{path}: {message}")]
    File { path: String, message: String },
    /// A spill file on local disk failed: most often the disk is full.
    #[error("a spill file failed; make room in the folder of temporary files, or set optimize.spill_dir to another")]
    Spill(#[source] std::io::Error),
    /// What is stored contradicts the contract.
    #[error("table {table}: {message}")]
    Data { table: TableName, message: String },
    /// Another writer of the table committed in between more often than a refresh tries again.
    #[error(
        "refresh of {table} lost {attempts} races against other writers; another `ticklake run` may work on the same lake"
    )]
    Contended { table: TableName, attempts: u32 },
    /// What a rebuild beside its table was made from is not what stands there now.
    #[error("the range of {0} changed while it was rebuilt, and nothing was swapped in; run the rebuild again")]
    Changed(TableName),
    /// The run took longer than the job's `timeout`.
    #[error("job {job} was stopped after {seconds} s; raise its timeout or look for a slow store")]
    TimedOut { job: String, seconds: u64 },
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The table layer failed in `step`.
    pub fn sql(step: &'static str, source: ticklake_sql::Error) -> Self {
        Self::Sql {
            step,
            source: Box::new(source),
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::Input { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Error::Input { .. } => ErrorKind::Retry,
            Error::Sql { source, .. } => source.kind(),
            Error::Read { source, .. } if matches!(**source, object_store::Error::NotFound { .. }) => ErrorKind::Data,
            Error::Read { .. }
            | Error::Contended { .. }
            | Error::Changed(_)
            | Error::TimedOut { .. }
            | Error::Spill(_) => ErrorKind::Retry,
            Error::Query { source, .. } => match source.find_root() {
                datafusion::error::DataFusionError::ObjectStore(_) | datafusion::error::DataFusionError::IoError(_) => {
                    ErrorKind::Retry
                }
                datafusion::error::DataFusionError::ResourcesExhausted(_) => ErrorKind::Retry,
                datafusion::error::DataFusionError::ParquetError(error) => of_parquet(error),
                _ => ErrorKind::Internal,
            },
            Error::Decode { .. } | Error::Data { .. } | Error::File { .. } => ErrorKind::Data,
            Error::Columns { .. } | Error::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// Names the failed step on the way up: `table.load(None).await.step("load silver.trades")?`.
pub trait Step<T> {
    fn step(self, step: &'static str) -> Result<T>;
}

impl<T> Step<T> for std::result::Result<T, ticklake_sql::Error> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|source| Error::sql(step, source))
    }
}

impl<T> Step<T> for std::result::Result<T, arrow::error::ArrowError> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|source| Error::Columns { step, source })
    }
}

impl<T> Step<T> for std::result::Result<T, datafusion::error::DataFusionError> {
    fn step(self, step: &'static str) -> Result<T> {
        self.map_err(|source| Error::Query {
            step,
            source: Box::new(source),
        })
    }
}

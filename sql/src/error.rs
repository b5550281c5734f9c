//! Errors of the table layer. `kind()` is what callers and retry loops read.

use crate::TableName;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The store or the network failed: the same call may succeed later.
    Retry,
    /// The caller passed something wrong: address, setting, schema.
    Invalid,
    NotFound,
    /// What is stored contradicts itself or the contract.
    Data,
    Internal,
    /// Another process does the work now: stop, and leave what comes next to it.
    Lease,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Invalid(String),
    #[error("table {table} does not exist in the lake at {lake}; start `ticklake ingest` or `ticklake up` on it first")]
    TableNotFound { table: TableName, lake: String },
    /// The whole lake does not answer, or refuses us.
    #[error("cannot reach the lake at {lake}: {advice}")]
    Unreachable {
        lake: String,
        advice: &'static str,
        #[source]
        source: object_store::Error,
    },
    #[error("{what} at {location}")]
    Store {
        what: &'static str,
        location: String,
        #[source]
        source: object_store::Error,
    },
    #[error("{what} of table {table}")]
    Delta {
        what: &'static str,
        table: TableName,
        #[source]
        source: Box<deltalake::DeltaTableError>,
    },
    #[error("{what} of table {table}")]
    Parquet {
        what: &'static str,
        table: TableName,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error("table {table}: {message}")]
    Data { table: TableName, message: String },
    /// Nothing was written.
    #[error(
        "job {job} has lost its lease (token {token}) and writes no more to table {table}: another process has taken it over, or the store did not let it be renewed in time"
    )]
    LeaseLost {
        table: TableName,
        job: String,
        token: i64,
        /// The token that the table's log has.
        recorded: Option<i64>,
    },
    /// The table was rewritten while it was open here. Opened again it can be written again; what was planned is lost.
    #[error(
        "table {table} is partitioned by {columns} now, and was not when it was opened here; nothing was written, run it again"
    )]
    Repartitioned { table: TableName, columns: String },
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::Unreachable { source, .. } => match source {
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                    ErrorKind::Invalid
                }
                _ => ErrorKind::Retry,
            },
            Error::TableNotFound { .. } => ErrorKind::NotFound,
            Error::Store { .. } | Error::Delta { .. } | Error::Repartitioned { .. } => ErrorKind::Retry,
            Error::Parquet { source, .. } => of_parquet(source),
            Error::Data { .. } => ErrorKind::Data,
            Error::LeaseLost { .. } => ErrorKind::Lease,
            Error::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// A file that cannot be decoded, or one that could not be fetched: of a store's error while it reads a footer DataFusion keeps the text alone.
pub fn of_parquet(error: &parquet::errors::ParquetError) -> ErrorKind {
    use parquet::errors::ParquetError;
    let is_data = match error {
        ParquetError::External(source) => match source.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) => true,
            Some(_) => false,
            None => !source.is::<std::io::Error>(),
        },
        error => !error.to_string().contains("Object Store error"),
    };
    if is_data { ErrorKind::Data } else { ErrorKind::Retry }
}

/// The error and its causes in one line: `commit silver.trades: put of version 7: connection refused`. Many errors print their cause themselves:
/// what was said is not said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

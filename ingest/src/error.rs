//! Errors of feeds, producer and consumer. `kind()` is what callers and retry loops read.

use std::path::PathBuf;

use rdkafka::error::KafkaError;
pub use ticklake_sql::ErrorKind;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used; the message says what to change.
    #[error("{0}")]
    Invalid(String),
    /// librdkafka refused an option. The value is left out: it may be a secret.
    #[error("librdkafka option `{key}` was refused: {reason}")]
    KafkaOption { key: String, reason: String },
    #[error("{what} at {brokers}")]
    Kafka {
        what: &'static str,
        brokers: String,
        #[source]
        source: KafkaError,
    },
    #[error("no Kafka broker answers at {brokers}; start it, or correct the address (--bootstrap-servers)")]
    Unreachable {
        brokers: String,
        #[source]
        source: KafkaError,
    },
    #[error("{what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A recorded session that is not what it says it is.
    #[error("{}, line {line}: {message}", path.display())]
    Session { path: PathBuf, line: u64, message: String },
    /// Partitions that could not go on from where the table stands; the others are done.
    #[error("topic {topic} has lost positions: {partitions}")]
    LostPositions { topic: String, partitions: String },
    #[error(transparent)]
    Lake(#[from] ticklake_sql::Error),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) | Error::KafkaOption { .. } => ErrorKind::Invalid,
            Error::Kafka { .. } | Error::Unreachable { .. } => ErrorKind::Retry,
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Error::File { .. } => ErrorKind::Invalid,
            Error::Session { .. } | Error::LostPositions { .. } => ErrorKind::Data,
            Error::Lake(error) => error.kind(),
            Error::Internal(_) => ErrorKind::Internal,
        }
    }
}

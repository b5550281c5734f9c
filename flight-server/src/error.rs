//! Errors of the server, and the one place where they become gRPC codes.
//!
//! Every message is a sentence that a user of a BI tool can act on; causes are chained, never printed with Debug.

use std::time::Duration;

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use deltalake::ObjectStoreError;
use ticklake_sql::error::chain;
use tonic::{Code, Status};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// gRPC headers of Java and C++ clients hold about 8 KiB in all; a message travels percent-encoded in one.
const MAX_MESSAGE_BYTES: usize = 4_000;

/// In DataFusion's message when spilled data meets its bound; the error has no kind of its own.
const SPILL_IS_FULL: &str = "max_temp_directory_size";

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The same call may succeed later.
    Retry,
    /// The statement, a parameter or a setting is wrong.
    Invalid,
    NotFound,
    /// Asked for more than the caller may have.
    Denied,
    /// The query met a limit of the server.
    Limit,
    Internal,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot parse the statement: {0}")]
    Syntax(String),
    #[error("cannot plan the statement: {0}")]
    Plan(String),
    #[error("the query failed: {0}")]
    Execution(String),
    #[error("{0} is refused: this server is read-only; use SELECT, WITH, VALUES, SHOW, DESCRIBE or EXPLAIN")]
    ReadOnly(String),
    #[error("{0}")]
    NotFound(String),
    #[error("parameters: {0}")]
    Parameter(String),
    #[error("request: {0}")]
    Request(String),
    #[error("ticket: {0}")]
    Ticket(String),
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unauthenticated(String),
    #[error("{0}; try again later")]
    Busy(String),
    #[error("{0}")]
    Limit(String),
    #[error("the query took longer than {}; narrow it or ask for a longer timeout", humanize(*.0))]
    Deadline(Duration),
    #[error("the request has not come within {0}; send it again")]
    Late(String),
    #[error("the query was cancelled")]
    Cancelled,
    #[error("{0}")]
    Unsupported(String),
    #[error("the lake cannot be read: {0}")]
    Store(String),
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Busy(_) | Error::Store(_) | Error::Cancelled => ErrorKind::Retry,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::ReadOnly(_) | Error::Ticket(_) | Error::Denied(_) | Error::Unauthenticated(_) => ErrorKind::Denied,
            Error::Limit(_) | Error::Deadline(_) | Error::Late(_) => ErrorKind::Limit,
            Error::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// As the audit line and `system.queries` name it.
    pub fn code_name(&self) -> String {
        format!("{:?}", self.code())
    }

    fn code(&self) -> Code {
        match self {
            Error::Syntax(_) | Error::Plan(_) | Error::Execution(_) | Error::Parameter(_) | Error::Request(_) => {
                Code::InvalidArgument
            }
            Error::ReadOnly(_) | Error::Ticket(_) | Error::Denied(_) => Code::PermissionDenied,
            Error::Unauthenticated(_) => Code::Unauthenticated,
            Error::NotFound(_) => Code::NotFound,
            Error::Busy(_) | Error::Store(_) => Code::Unavailable,
            Error::Limit(_) => Code::ResourceExhausted,
            Error::Deadline(_) | Error::Late(_) => Code::DeadlineExceeded,
            Error::Cancelled => Code::Cancelled,
            Error::Unsupported(_) => Code::Unimplemented,
            Error::Config(_) | Error::Internal(_) => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::new(error.code(), short(error.to_string()))
    }
}

/// `message`, cut on a character where its encoded form would be too long.
fn short(message: String) -> String {
    let mut bytes = 0;
    let too_long = message.char_indices().find(|(_, c)| {
        bytes += if c.is_ascii_graphic() && *c != '%' || *c == ' ' {
            1
        } else {
            3 * c.len_utf8()
        };
        bytes > MAX_MESSAGE_BYTES
    });
    match too_long {
        Some((end, _)) => format!("{} ...", &message[..end]),
        None => message,
    }
}

impl From<ticklake_sql::Error> for Error {
    fn from(error: ticklake_sql::Error) -> Self {
        match error.kind() {
            _ if matches!(error, ticklake_sql::Error::Unreachable { .. }) => Error::Store(chain(&error)),
            ticklake_sql::ErrorKind::NotFound => Error::NotFound(chain(&error)),
            ticklake_sql::ErrorKind::Invalid => Error::Config(chain(&error)),
            ticklake_sql::ErrorKind::Internal => Error::Internal(chain(&error)),
            // The server never writes, so no lease of its own is ever lost.
            ticklake_sql::ErrorKind::Retry | ticklake_sql::ErrorKind::Data | ticklake_sql::ErrorKind::Lease => {
                Error::Store(chain(&error))
            }
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let Some(ours) = find_ours(&error) {
            return ours;
        }
        match error.find_root() {
            DataFusionError::SQL(source, _) => Error::Syntax(source.to_string()),
            DataFusionError::Plan(text) => Error::Plan(text.clone()),
            DataFusionError::SchemaError(source, _) => match source.as_ref() {
                SchemaError::FieldNotFound { .. } => Error::Plan(first_line(&source.to_string())),
                other => Error::Plan(other.to_string()),
            },
            DataFusionError::NotImplemented(text) => Error::Unsupported(format!("not supported: {text}")),
            DataFusionError::ResourcesExhausted(text) => Error::Limit(format!(
                "the query needs more memory than it may have: {}",
                first_line(text)
            )),
            DataFusionError::ObjectStore(source) => unreadable(source.as_ref()),
            DataFusionError::ParquetError(source) => unreadable(source.as_ref()),
            DataFusionError::External(source) => external(source.as_ref()),
            DataFusionError::ArrowError(source, _) if source.to_string().contains(SPILL_IS_FULL) => Error::Limit(
                "the query needs more disk to move its data to than it may have; narrow it or sort less at once".into(),
            ),
            DataFusionError::ArrowError(source, _) => Error::Execution(source.to_string()),
            DataFusionError::Execution(text) => Error::Execution(text.clone()),
            other => Error::Internal(first_line(&other.strip_backtrace())),
        }
    }
}

/// A file that is gone stays gone: only a newer version of its table can be read.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> Error {
    if is_gone(error) {
        return Error::NotFound(format!(
            "a file of the version that the query reads is gone, its table was vacuumed or dropped; run the query again ({})",
            chain(error)
        ));
    }
    Error::Store(chain(error))
}

fn external(error: &(dyn std::error::Error + 'static)) -> Error {
    let store = |e: &(dyn std::error::Error + 'static)| e.is::<ObjectStoreError>() || e.is::<ParquetError>();
    if causes(error).any(store) {
        return unreadable(error);
    }
    Error::Internal(first_line(&chain(error)))
}

/// Whether the store does not have what was to be read.
pub fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let typed = causes(error).any(|cause| matches!(cause.downcast_ref(), Some(ObjectStoreError::NotFound { .. })));
    // Where a footer is missing only the text of object_store's error is left.
    let text = error.to_string();
    typed || (text.contains("Object at location") && text.contains("not found"))
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// One of our own errors carried through DataFusion as an external one.
fn find_ours(error: &DataFusionError) -> Option<Error> {
    match error {
        DataFusionError::External(source) => source.downcast_ref::<CarriedError>().map(CarriedError::take),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => find_ours(inner),
        DataFusionError::Shared(inner) => find_ours(inner),
        DataFusionError::Collection(all) => all.iter().find_map(find_ours),
        _ => None,
    }
}

/// An [`Error`] on its way through code that knows only [`DataFusionError`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct CarriedError {
    code: Code,
    message: String,
}

impl CarriedError {
    fn take(&self) -> Error {
        match self.code {
            Code::NotFound => Error::NotFound(self.message.clone()),
            Code::Unavailable => Error::Store(self.message.clone()),
            Code::ResourceExhausted => Error::Limit(self.message.clone()),
            Code::InvalidArgument => Error::Request(self.message.clone()),
            Code::Cancelled => Error::Cancelled,
            _ => Error::Internal(self.message.clone()),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(CarriedError {
            code: error.code(),
            message: error.to_string(),
        }))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

pub(crate) fn humanize(time: Duration) -> String {
    if time.as_secs() >= 1 && time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: impl Into<Error>, code: Code, part: &str) {
        let status = Status::from(error.into());
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    }

    #[test]
    fn datafusion_errors_have_codes() {
        check(
            DataFusionError::Plan("no field x".into()),
            Code::InvalidArgument,
            "no field x",
        );
        check(
            DataFusionError::ResourcesExhausted("pool".into()),
            Code::ResourceExhausted,
            "memory",
        );
        check(
            DataFusionError::NotImplemented("LATERAL".into()),
            Code::Unimplemented,
            "LATERAL",
        );
        check(
            DataFusionError::ArrowError(Box::new(ArrowError::DivideByZero), None),
            Code::InvalidArgument,
            "Divide",
        );
    }

    #[test]
    fn our_errors_survive_the_way_through_datafusion() {
        let inner = DataFusionError::from(Error::NotFound("table a.b does not exist".into()));
        let wrapped = DataFusionError::Context("scan".into(), Box::new(inner));
        check(wrapped, Code::NotFound, "a.b");
    }

    #[test]
    fn long_messages_are_cut_on_a_character() {
        for (text, encoded) in [("ä", 6), ("€", 9), ("\n", 3), ("a", 1)] {
            let status = Status::from(Error::Plan(text.repeat(10_000)));
            let kept = status.message().chars().filter(|c| text.starts_with(*c)).count();
            assert!(kept > 300 && kept * encoded < 4_100, "{text}: {kept}");
        }
        let whole = Status::from(Error::NotFound("a".repeat(3_000)));
        assert_eq!(whole.message().len(), 3_000);
    }

    #[test]
    fn a_lake_that_does_not_answer_is_no_wrong_statement() {
        let refused = ticklake_sql::Error::Unreachable {
            lake: "s3://b/l".into(),
            advice: "check the access key",
            source: object_store_error(),
        };
        check(refused, Code::Unavailable, "access key");
    }

    fn object_store_error() -> deltalake::ObjectStoreError {
        deltalake::ObjectStoreError::PermissionDenied {
            path: "l".into(),
            source: "403".into(),
        }
    }
}

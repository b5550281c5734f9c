//! How the process ends: 0 done, 1 failed, 2 wrong usage or configuration, 3 a check found differences.
//!
//! An error becomes one sentence on stderr: the message and its causes, never a backtrace.

use std::process::ExitCode;

use ticklake_sql::ErrorKind;

use crate::config::ConfigError;

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const DIFFERENT: u8 = 3;

/// Wrong usage that clap cannot see: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A check found differences, which are on stdout: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0} differences found")]
pub struct Differences(pub u64);

/// Prints `error` and names the exit code it stands for.
#[allow(clippy::print_stderr)]
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", sentence(error));
    ExitCode::from(code(error))
}

/// The message and its causes on one line, without what a cause merely repeats.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if text.contains(&part) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&part);
    }
    text
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Differences>() {
        DIFFERENT
    } else if is_usage(error) {
        USAGE
    } else {
        FAILED
    }
}

/// True where only another command line or configuration helps.
pub fn is_usage(error: &anyhow::Error) -> bool {
    let invalid = |kind: Option<ErrorKind>| kind == Some(ErrorKind::Invalid);
    error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<Usage>()
            || invalid(
                cause
                    .downcast_ref::<ticklake_sql::Error>()
                    .map(ticklake_sql::Error::kind),
            )
            || invalid(
                cause
                    .downcast_ref::<ticklake_ingest::Error>()
                    .map(ticklake_ingest::Error::kind),
            )
            || invalid(
                cause
                    .downcast_ref::<ticklake_engine::Error>()
                    .map(ticklake_engine::Error::kind),
            )
            || matches!(cause.downcast_ref(), Some(ticklake_flight_server::Error::Config(_)))
    })
}

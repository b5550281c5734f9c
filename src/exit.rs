//! How the process ends: 0 done, 1 failed, 2 wrong usage or configuration, 3 a check found differences.
//!
//! An error becomes one sentence on stderr: the message and its causes, never a backtrace.

use std::process::ExitCode;

use ticklake_sql::ErrorKind;

use crate::config::ConfigError;

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;

/// Wrong usage that clap cannot see: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

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
    for cause in error.chain() {
        if cause.is::<ConfigError>() || cause.is::<Usage>() {
            return USAGE;
        }
        let kind = cause.downcast_ref::<ticklake_sql::Error>().map(ticklake_sql::Error::kind);
        let kind = kind.or_else(|| cause.downcast_ref::<ticklake_ingest::Error>().map(ticklake_ingest::Error::kind));
        if kind == Some(ErrorKind::Invalid) {
            return USAGE;
        }
    }
    FAILED
}

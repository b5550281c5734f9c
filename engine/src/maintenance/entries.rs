//! Stretches of a table's log, read with several requests at once.

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use ticklake_sql::log::LogEntry;
use ticklake_sql::{ErrorKind, Table, log};

use crate::{Error, Result};

/// Entries fetched at once.
const READ_AHEAD: usize = 16;

/// Time of a commit by its own word, which the writer's clock gave.
pub fn committed_at(entry: Option<&LogEntry>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(entry?.info.as_ref()?.timestamp?)
}

/// `None` where log clean-up has passed it, or it does not exist yet.
pub async fn entry(table: &Table, version: u64) -> Result<Option<LogEntry>> {
    match log::read(table, version).await {
        Ok(entry) => Ok(entry),
        Err(error) if error.kind() == ErrorKind::Data => Ok(None),
        Err(source) => Err(Error::sql("read the log of a table", source)),
    }
}

/// The entries `from..=to`, in order, several requests at once.
pub fn entries(table: &Table, from: u64, to: u64) -> impl Stream<Item = Result<(u64, Option<LogEntry>)>> + Unpin + '_ {
    Box::pin(
        stream::iter(from..to.saturating_add(1))
            .map(move |version| async move { entry(table, version).await.map(|entry| (version, entry)) })
            .buffered(READ_AHEAD),
    )
}

//! Shuts out a holder that is silent but may only be paused: the new token into every table that the job writes, before the job begins.

use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::{ErrorKind, Table};

use crate::{Error, Result};

/// Tries of an empty commit beside a stream of others; only a change of the table's definition is in its way.
const TRIES: u32 = 5;

/// `tables`: opened under the new lease. One empty commit each, once at a takeover.
pub async fn fence(tables: &[Table]) -> Result<()> {
    let step = "shut the holder before out of a table";
    for table in tables {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut committer = Committer::open(table).await.map_err(|error| Error::sql(step, error))?;
            let commit = Commit {
                operation: "LEASE".into(),
                ..Commit::default()
            };
            match committer.commit(commit).await {
                Ok(Outcome::Committed { version }) => {
                    tracing::info!(table = %table.name(), version, "the holder before is shut out");
                    break;
                }
                Ok(Outcome::Conflict { .. }) if tries < TRIES => {}
                // An answer that was lost: it does no harm twice.
                Err(error) if error.kind() == ErrorKind::Retry && tries < TRIES => {}
                Ok(Outcome::Conflict { .. }) => {
                    return Err(Error::Contended {
                        table: table.name().clone(),
                        attempts: tries,
                    });
                }
                Err(error) => return Err(Error::sql(step, error)),
            }
        }
    }
    Ok(())
}

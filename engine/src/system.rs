//! Appending to the tables of schema `system`: what runs of checks and comparisons found, as rows.

use std::collections::BTreeMap;

use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use ticklake_sql::Table;
use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::data_file::{self, FileOptions};

use crate::error::Step;
use crate::{Error, Result};

/// Commits `rows` (in the table's file columns) under the date of `at`. Appends exclude nobody.
pub async fn append(table: &Table, at: DateTime<Utc>, rows: RecordBatch) -> Result<()> {
    let step = "append to a system table";
    let partition = BTreeMap::from([("date".to_owned(), at.format("%Y-%m-%d").to_string())]);
    let file = data_file::write(table, partition, vec![rows], FileOptions::default())
        .await
        .step(step)?;
    let mut committer = Committer::open(table).await.step(step)?;
    let commit = Commit {
        operation: "WRITE".into(),
        adds: vec![file],
        ..Commit::default()
    };
    match committer.commit(commit).await.step(step)? {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Conflict { .. } => Err(Error::Contended {
            table: table.name().clone(),
            attempts: 1,
        }),
    }
}

//! The commits of a backfill: bad lines first, then rows, each with the file's position; what a store or another writer puts in the way is
//! sat out or found out by the positions.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use chrono::DateTime;
use deltalake::kernel::Add;
use serde_json::json;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::data_file::{self, EncodedFile, FileOptions};
use ticklake_sql::offset_ranges::{self, OffsetRange};
use ticklake_sql::{ErrorKind, Lake, Table, TableName};
use tokio::sync::Mutex;

use super::bad_line::dead_letters;
use super::encode::Encoded;
use super::positions::{self, Standing};
use crate::error::Step;
use crate::{Error, Result};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Both tables of bronze and what is recorded in them.
pub struct Ledger {
    pub trades: Table,
    pub dead_letters: Table,
    of_trades: Mutex<Committer>,
    of_dead_letters: Mutex<Committer>,
    attempts: usize,
}

/// The file whose lines are committed.
#[derive(Debug, Clone)]
pub struct FileName {
    pub address: String,
    pub sha256: String,
    pub topic: String,
    /// How many contents of this name there have been, with this one.
    pub generation: i64,
}

impl Ledger {
    pub async fn open(lake: &Lake, attempts: usize) -> Result<Self> {
        let create = async |name: TableName| lake.create_table(&name).await.step("open or create a table");
        let trades = create(TableName::bronze_trades()).await?;
        let dead_letters = create(TableName::bronze_dead_letters()).await?;
        let open = async |table: &Table| Committer::open(table).await.step("read the positions of a table");
        Ok(Self {
            of_trades: Mutex::new(open(&trades).await?),
            of_dead_letters: Mutex::new(open(&dead_letters).await?),
            trades,
            dead_letters,
            attempts,
        })
    }

    /// How far the file with this digest is loaded, and the newest content under `address`.
    pub async fn look_up(&self, address: &str, sha256: &str) -> Result<(Standing, Option<(String, i64)>)> {
        let mut committer = self.of_trades.lock().await;
        committer.refresh().await.step("read the positions of bronze.trades")?;
        let (table, recorded) = (self.trades.name(), committer.positions());
        Ok((
            positions::standing(table, recorded, sha256),
            positions::newest(table, recorded, address),
        ))
    }

    /// Uploads a piece's data file. Nothing of it is visible before the commit.
    pub async fn upload(&self, file: &EncodedFile, topic: &str, piece: &Encoded) -> Result<Add> {
        let partition = ingest_date(piece.now_us)?;
        let mut delays = self.delays();
        loop {
            match file.upload(&self.trades, partition.clone()).await {
                Ok(mut add) => {
                    let lines = lines(topic, piece.lines.start, piece.lines.end, piece.rows);
                    offset_ranges::put(&mut add, &[lines]);
                    return Ok(add);
                }
                Err(error) => wait(&mut delays, error, "write a data file of bronze.trades").await?,
            }
        }
    }

    /// Commits the lines from `from` up to the piece's end.
    pub async fn commit(&self, name: &FileName, from: i64, piece: &Encoded, add: Option<Add>) -> Result<()> {
        if !piece.bad.is_empty() {
            self.commit_dead_letters(name, piece).await?;
        }
        let table = self.trades.name();
        let mut txns = vec![positions::position_txn(table, &name.sha256, piece.next_line)];
        if from == positions::FIRST_LINE {
            txns.push(positions::name_txn(table, &name.address, &name.sha256, name.generation));
        }
        if piece.is_last {
            txns.push(positions::end_txn(table, &name.sha256, piece.next_line));
        }
        let mut committer = self.of_trades.lock().await;
        let records = usize::try_from(piece.rows)
            .unwrap_or(usize::MAX)
            .saturating_add(piece.bad.len());
        txns.extend(positions::records_txn(
            table,
            committer.positions(),
            &name.sha256,
            from,
            records,
        ));
        let commit = commit(name, txns, add.into_iter().collect(), piece.rows);
        self.land(&mut committer, commit, name, from, piece.next_line).await
    }

    /// What this table holds of them already stays as it is.
    async fn commit_dead_letters(&self, name: &FileName, piece: &Encoded) -> Result<()> {
        let mut committer = self.of_dead_letters.lock().await;
        committer
            .refresh()
            .await
            .step("read the positions of bronze.dead_letters")?;
        let table = self.dead_letters.name();
        let from = positions::standing(table, committer.positions(), &name.sha256).next_line;
        let new: Vec<_> = piece.bad.iter().filter(|bad| bad.line >= from).cloned().collect();
        if new.is_empty() || from >= piece.next_line {
            return Ok(());
        }
        let rows = dead_letters(&new, &name.topic, piece.now_us, &self.dead_letters.spec().file_schema())?;
        let partition = ingest_date(piece.now_us)?;
        let mut delays = self.delays();
        let add = loop {
            let write = data_file::write(
                &self.dead_letters,
                partition.clone(),
                vec![rows.clone()],
                FileOptions::default(),
            );
            match write.await {
                Ok(add) => break add,
                Err(error) => wait(&mut delays, error, "write a data file of bronze.dead_letters").await?,
            }
        };
        let mut add = add;
        if let (Some(first), Some(last)) = (new.first(), new.last()) {
            let lines = lines(&name.topic, first.line, last.line + 1, new.len() as u64);
            offset_ranges::put(&mut add, &[lines]);
        }
        let txns = vec![positions::position_txn(table, &name.sha256, piece.next_line)];
        let commit = commit(name, txns, vec![add], new.len() as u64);
        self.land(&mut committer, commit, name, from, piece.next_line).await
    }

    /// Puts a commit that leads from line `from` to `to`, however often it takes; the position tells whether it landed.
    async fn land(&self, committer: &mut Committer, commit: Commit, name: &FileName, from: i64, to: i64) -> Result<()> {
        let mut delays = self.delays();
        loop {
            let mut refused = None;
            match committer.commit(commit.clone()).await {
                Ok(Outcome::Committed { .. }) => return Ok(()),
                Ok(Outcome::Conflict { .. }) => {}
                // The position may have moved on.
                Err(error) if error.kind() == ErrorKind::Invalid => refused = Some(error),
                Err(error) => wait(&mut delays, error, "commit rows of a file").await?,
            }
            while let Err(error) = committer.refresh().await {
                wait(&mut delays, error, "read the positions of a table").await?;
            }
            let table = committer.table().name();
            let now = positions::standing(table, committer.positions(), &name.sha256).next_line;
            if now == to {
                return Ok(());
            }
            if now != from {
                return Err(Error::File {
                    path: name.address.clone(),
                    message: format!("another backfill loads it: {table} stands at line {now}, this one at {from}"),
                });
            }
            if let Some(error) = refused {
                return Err(Error::sql("commit rows of a file", error));
            }
        }
    }

    fn delays(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(MAX_DELAY)
            .with_max_times(self.attempts)
            .with_jitter()
            .build()
    }
}

/// Rows among the lines of a file from `from` on up to `to`.
fn lines(topic: &str, from: i64, to: i64, rows: u64) -> OffsetRange {
    OffsetRange {
        topic_id: topic.to_owned(),
        partition: 0,
        from,
        to,
        rows,
    }
}

fn commit(name: &FileName, txns: Vec<Txn>, adds: Vec<Add>, rows: u64) -> Commit {
    let info = [
        ("ticklake.file", json!(name.address)),
        ("ticklake.topic", json!(name.topic)),
        ("ticklake.rows", json!(rows)),
    ];
    Commit {
        operation: "WRITE".to_owned(),
        info: info.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        txns,
        adds,
        ..Commit::default()
    }
}

/// Waits before the next attempt, or gives the error back where it would not help or has been tried enough.
async fn wait(
    delays: &mut (impl Iterator<Item = Duration> + Send),
    error: ticklake_sql::Error,
    step: &'static str,
) -> Result<()> {
    match delays.next() {
        Some(delay) if error.kind() == ErrorKind::Retry => {
            tracing::warn!(step, %error, "the store refuses, trying again");
            tokio::time::sleep(delay).await;
            Ok(())
        }
        _ => Err(Error::sql(step, error)),
    }
}

fn ingest_date(now_us: i64) -> Result<BTreeMap<String, String>> {
    let now = DateTime::from_timestamp_micros(now_us)
        .ok_or_else(|| Error::Internal(format!("the clock says {now_us} us, which is no date")))?;
    Ok(BTreeMap::from([(
        "ingest_date".to_owned(),
        now.format("%Y-%m-%d").to_string(),
    )]))
}

//! The stage that commits: in order, dead letters first, then the main table together with the positions that its rows lead to.
//!
//! An error means that nobody knows whether the commit landed: the table's positions, read again, tell. A flush is dropped, never patched,
//! when the table stands elsewhere than where the flush starts.

use std::collections::HashMap;
use std::sync::Arc;

use ticklake_sql::commit::{Commit, Committer, Outcome};
use ticklake_sql::error::chain;
use ticklake_sql::offset_ranges::{self, Gathered};
use ticklake_sql::{ErrorKind, TableName, failpoint};
use tokio::sync::mpsc::Receiver;

use super::super::dead_letters::{self, with_ingested_at};
use super::super::positions::{self, Moved, Positions};
use super::super::status::add;
use super::ask::{Ask, StartOutcome, StartRecord};
use super::backoff::Backoff;
use super::commit_info;
use super::message::{Written, WrittenFlush};
use super::shared::Shared;
use super::write::write_file;
use crate::error::Result;

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Landed,
    /// Another writer committed exactly these records; nothing is left to do.
    Overtaken,
    /// The table stands elsewhere, or the topic is another one: go back to the recorded positions.
    Rewind,
    /// Stale or abandoned: nobody waits for it.
    Dropped,
}

pub struct Commits {
    shared: Arc<Shared>,
    trades: Committer,
    dead_letters: Committer,
}

impl Commits {
    pub async fn open(shared: Arc<Shared>) -> Result<Self> {
        let trades = Committer::open(&shared.trades).await?;
        let dead_letters = Committer::open(&shared.dead_letters).await?;
        Ok(Self {
            shared,
            trades,
            dead_letters,
        })
    }

    /// Runs until write ends.
    pub async fn run(mut self, mut input: Receiver<Written>) -> Result<()> {
        while let Some(written) = input.recv().await {
            match written {
                Written::Flush(flush) => {
                    let settled = self.settle(flush).await?;
                    if matches!(settled, Settled::Rewind | Settled::Overtaken) {
                        add(&self.shared.status.conflicts, 1);
                    }
                    if settled == Settled::Rewind {
                        self.shared.ask_rewind();
                    }
                    self.shared.flush_settled();
                }
                Written::Ask(Ask::Settled(reply)) => {
                    let _ = reply.send(());
                }
                Written::Ask(Ask::Recorded { reply }) => {
                    if self.refresh().await? {
                        let _ = reply.send(self.trades.positions().clone());
                    }
                }
                Written::Ask(Ask::Record { start, reply }) => {
                    if let Some(outcome) = self.record_start(start).await? {
                        let _ = reply.send(outcome);
                    }
                }
            }
        }
        Ok(())
    }

    async fn settle(&mut self, mut written: WrittenFlush) -> Result<Settled> {
        for upload in std::mem::take(&mut written.uploads) {
            let arrived = upload
                .file
                .await
                .map_err(|error| crate::Error::Internal(format!("the upload of a data file ended early: {error}")))??;
            let Some(mut add) = arrived else {
                return Ok(Settled::Dropped);
            };
            let ranges = upload.records.of_topic(&written.flush.topic.id.to_string());
            offset_ranges::put(&mut add, &ranges);
            written.adds.push(add);
        }
        let flush = &written.flush;
        // After a rewind was asked for, fetch has yet to answer it: what is still on its way starts from where the table no longer stands.
        if self.given_up(flush.epoch) || self.shared.wants_rewind() {
            return Ok(Settled::Dropped);
        }
        if flush.to.is_empty() {
            return Ok(Settled::Landed);
        }
        match self.compare(flush) {
            Moved::Not => {}
            Moved::ToTarget => return Ok(Settled::Overtaken),
            Moved::Elsewhere => return Ok(Settled::Rewind),
        }
        // The version that this verdict is about: what lands after it, seen on the way or not, must still stop the commit below.
        let planned = self.trades.version();
        if !self.is_same_topic(&written).await? {
            return Ok(if self.given_up(flush.epoch) {
                Settled::Dropped
            } else {
                Settled::Rewind
            });
        }
        failpoint::reach("files-written");
        if !self.commit_dead_letters(&written).await? {
            return Ok(Settled::Dropped);
        }
        failpoint::reach("dead-letters-committed");
        let settled = self.commit_trades(&written, planned).await?;
        if settled == Settled::Landed {
            failpoint::reach("trades-committed");
            self.report(&written);
        }
        Ok(settled)
    }

    fn given_up(&self, epoch: u64) -> bool {
        self.shared.is_stale(epoch) || self.shared.abandon.is_cancelled()
    }

    fn compare(&self, flush: &super::message::Flush) -> Moved {
        let now = recorded(&self.trades, &flush.topic);
        positions::moved(&now, &flush.from, &flush.to)
    }

    /// Topic ids never come back: if the topic's id is still the flush's, every record of it came from that topic.
    async fn is_same_topic(&self, written: &WrittenFlush) -> Result<bool> {
        let mut backoff = Backoff::default();
        loop {
            let shared = self.shared.clone();
            let described = tokio::task::spawn_blocking(move || shared.topic_client.describe()).await;
            match described {
                Ok(Ok(Some(topic))) => return Ok(topic.id == written.flush.topic.id),
                Ok(Ok(None)) => return Ok(false),
                Ok(Err(error)) => self
                    .shared
                    .status
                    .trouble(&format!("a flush waits for the broker: {}", chain(&error))),
                Err(error) => {
                    return Err(crate::Error::Internal(format!(
                        "describing the topic ended early: {error}"
                    )));
                }
            }
            if !backoff.wait(&self.shared.abandon).await || self.given_up(written.flush.epoch) {
                return Ok(false);
            }
        }
    }

    /// Commits the dead letters that the side table does not hold yet; false where the flush is given up.
    async fn commit_dead_letters(&mut self, written: &WrittenFlush) -> Result<bool> {
        if written.dead_letters.is_empty() {
            return Ok(true);
        }
        let flush = &written.flush;
        let mut backoff = Backoff::default();
        // Rows of an attempt that nobody answered: if they are held now, that attempt landed.
        let mut unanswered = 0;
        loop {
            let held = recorded(&self.dead_letters, &flush.topic);
            let rows = dead_letters::above(&written.dead_letters, &held)?;
            let count: usize = rows.iter().map(|batch| batch.num_rows()).sum();
            if count == 0 {
                add(&self.shared.status.dead_letters, unanswered);
                return Ok(true);
            }
            let partitions = dead_letters::partitions(&rows);
            let to: Positions = flush
                .to
                .iter()
                .filter(|(partition, _)| partitions.contains(partition))
                .map(|(p, o)| (*p, *o))
                .collect();
            let now_us = self.shared.clock.now_us();
            let schema = self.shared.dead_letters.spec().file_schema();
            let rows = rows
                .iter()
                .map(|batch| with_ingested_at(&schema, batch, now_us))
                .collect::<Result<Vec<_>>>()?;
            let mut ranges = Gathered::default();
            rows.iter().try_for_each(|batch| ranges.add(batch))?;
            let written = write_file(&self.shared, &self.shared.dead_letters, flush.epoch, now_us, rows);
            let Some(mut file) = written.await? else {
                return Ok(false);
            };
            offset_ranges::put(&mut file, &ranges.of_topic(&flush.topic.id.to_string()));
            let txns = positions::txns(self.shared.dead_letters.name(), &flush.topic, &to);
            let mut commit = commit_info::of_rows(&flush.topic, txns, count as u64);
            commit.adds.push(file);
            match self.dead_letters.commit(commit).await {
                Ok(Outcome::Committed { version }) => {
                    add(&self.shared.status.dead_letters, count as u64);
                    tracing::info!(table = %self.shared.dead_letters.name(), rows = count, files = 1, version, "committed");
                    return Ok(true);
                }
                Ok(Outcome::Conflict { .. }) => {}
                Err(error) if error.kind() == ErrorKind::Retry => {
                    unanswered = count as u64;
                    self.retry_later(self.shared.dead_letters.name(), &error);
                    if !backoff.wait(&self.shared.abandon).await {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            // Whatever happened, what the side table holds now decides which rows are left.
            if self.given_up(flush.epoch) || !self.refresh().await? {
                return Ok(false);
            }
        }
    }

    /// `planned` is the version at which the flush started from where the table stood.
    async fn commit_trades(&mut self, written: &WrittenFlush, mut planned: u64) -> Result<Settled> {
        let flush = &written.flush;
        let table = self.shared.trades.name().clone();
        let mut backoff = Backoff::default();
        // Reaching the target is our doing only if an attempt of ours went unanswered.
        let mut reached = Settled::Overtaken;
        loop {
            let txns = positions::txns(&table, &flush.topic, &flush.to);
            let commit = Commit {
                read_version: Some(planned),
                ..commit_info::of_flush(written, txns)
            };
            let outcome = self.trades.commit(commit).await;
            match outcome {
                Ok(Outcome::Committed { .. }) => return Ok(Settled::Landed),
                Ok(Outcome::Conflict { version, reason }) => {
                    tracing::info!(%table, version, reason, "another commit was here first");
                    if !self.refresh().await? {
                        return Ok(Settled::Dropped);
                    }
                    match self.compare(flush) {
                        Moved::ToTarget => return Ok(reached),
                        Moved::Elsewhere => return Ok(Settled::Rewind),
                        // Somebody changed the table's metadata, or recorded other partitions: ours stands as before.
                        Moved::Not => planned = self.trades.version(),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Retry => {
                    reached = Settled::Landed;
                    self.retry_later(&table, &error);
                    if !backoff.wait(&self.shared.abandon).await || !self.refresh().await? {
                        return Ok(Settled::Dropped);
                    }
                    match self.compare(flush) {
                        Moved::ToTarget => return Ok(Settled::Landed),
                        Moved::Elsewhere => return Ok(Settled::Rewind),
                        Moved::Not => planned = self.trades.version(),
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if self.given_up(flush.epoch) {
                return Ok(Settled::Dropped);
            }
        }
    }

    /// Records where partitions start. `None` where the run is abandoned.
    async fn record_start(&mut self, start: StartRecord) -> Result<Option<StartOutcome>> {
        let before = recorded(&self.trades, &start.topic);
        let planned = self.trades.version();
        if !self.lower_dead_letters(&start).await? {
            return Ok(None);
        }
        let commit = Commit {
            // Lowering may have shown what others recorded since the plan was made: that is a conflict all the same.
            read_version: Some(planned),
            ..commit_info::of_start(&start.topic, start.txns.clone(), &start.choices)
        };
        let Some(outcome) = self.commit_positions(commit, true).await? else {
            return Ok(None);
        };
        if outcome == StartOutcome::Recorded {
            self.shared.status.committed(&start.positions, None);
            tracing::info!(
                table = %self.shared.trades.name(), topic = %start.topic, positions = ?start.positions, ?before, choices = start.choices.len(),
                "recorded where partitions start"
            );
        }
        Ok(Some(outcome))
    }

    /// A choice may lead below what the side table has seen: then its position goes back first, or new dead letters would pass for old ones.
    async fn lower_dead_letters(&mut self, start: &StartRecord) -> Result<bool> {
        loop {
            let held = recorded(&self.dead_letters, &start.topic);
            let lower: Positions = start
                .positions
                .iter()
                .filter(|(p, to)| held.get(p).is_some_and(|held| held > to))
                .map(|(p, to)| (*p, *to))
                .collect();
            if lower.is_empty() {
                return Ok(true);
            }
            let txns = positions::txns(self.shared.dead_letters.name(), &start.topic, &lower);
            let commit = Commit {
                allow_backwards: true,
                ..commit_info::of_start(&start.topic, txns, &start.choices)
            };
            if self.commit_positions(commit, false).await?.is_none() {
                return Ok(false);
            }
        }
    }

    /// Commits txns alone, however often the store refuses.
    async fn commit_positions(&mut self, commit: Commit, main: bool) -> Result<Option<StartOutcome>> {
        let mut backoff = Backoff::default();
        loop {
            let committer = if main { &mut self.trades } else { &mut self.dead_letters };
            match committer.commit(commit.clone()).await {
                Ok(Outcome::Committed { .. }) => {
                    add(&self.shared.status.commits, 1);
                    return Ok(Some(StartOutcome::Recorded));
                }
                Ok(Outcome::Conflict { .. }) => {
                    return Ok(if self.refresh().await? {
                        Some(StartOutcome::Conflict)
                    } else {
                        None
                    });
                }
                Err(error) if error.kind() == ErrorKind::Retry => {
                    let table = if main {
                        &self.shared.trades
                    } else {
                        &self.shared.dead_letters
                    };
                    self.retry_later(table.name(), &error);
                    if !backoff.wait(&self.shared.abandon).await || !self.refresh().await? {
                        return Ok(None);
                    }
                    let committer = if main { &self.trades } else { &self.dead_letters };
                    if commit
                        .txns
                        .iter()
                        .all(|txn| committer.positions().get(&txn.app_id) == Some(&txn.version))
                    {
                        return Ok(Some(StartOutcome::Recorded));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what others committed, however often the store refuses; false where the run is abandoned.
    async fn refresh(&mut self) -> Result<bool> {
        let mut backoff = Backoff::default();
        loop {
            let (table, error) = match self.trades.refresh().await {
                Err(error) => (self.shared.trades.name(), error),
                Ok(()) => match self.dead_letters.refresh().await {
                    Err(error) => (self.shared.dead_letters.name(), error),
                    Ok(()) => return Ok(true),
                },
            };
            if error.kind() != ErrorKind::Retry {
                return Err(error.into());
            }
            self.retry_later(table, &error);
            if !backoff.wait(&self.shared.abandon).await {
                return Ok(false);
            }
        }
    }

    fn retry_later(&self, table: &TableName, error: &ticklake_sql::Error) {
        add(&self.shared.status.retries, 1);
        let message = format!("the store refuses {table}, trying again: {}", chain(error));
        tracing::warn!(%table, error = chain(error), "the store refuses, trying again");
        self.shared.status.trouble(&message);
    }

    fn report(&self, written: &WrittenFlush) {
        let status = &self.shared.status;
        let bytes: i64 = written.adds.iter().map(|add| add.size).sum();
        add(&status.commits, 1);
        add(&status.rows, written.rows);
        add(&status.records, written.flush.records);
        add(&status.files, written.adds.len() as u64);
        add(&status.file_bytes, u64::try_from(bytes).unwrap_or_default());
        status.committed(&written.flush.to, Some(self.shared.clock.now_us()));
        tracing::info!(
            table = %self.shared.trades.name(),
            rows = written.rows,
            dead_letters = written.dead_letters.iter().map(|batch| batch.num_rows()).sum::<usize>(),
            files = written.adds.len(),
            bytes,
            version = self.trades.version(),
            elapsed_ms = written.flush.opened.elapsed().as_millis() as u64,
            "committed"
        );
    }
}

/// The positions of `topic` that a table holds.
fn recorded(committer: &Committer, topic: &super::super::topic::TopicIdentity) -> Positions {
    let all: &HashMap<String, i64> = committer.positions();
    positions::of_topic(committer.table().name(), all, &topic.cluster_id, &topic.id)
}

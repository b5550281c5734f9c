//! The stage that reads Kafka: polls, copies records into chunks, decides where a flush ends, answers rebalances and rewinds.
//!
//! A position moves only for what was handed on; a record below the expected offset is never taken twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::super::consumer::{Rebalance, TopicConsumer};
use super::super::positions::Positions;
use super::super::record_chunk::{CHUNK_BYTES, CHUNK_ROWS, RecordChunk};
use super::super::status::Phase;
use super::super::topic::TopicIdentity;
use super::super::until_latest::Ends;
use super::ask::Ask;
use super::assignment::{Taken, Wanted};
use super::message::{Fetched, Flush};
use super::shared::Shared;
use crate::error::{Error, Result};

/// Records between two looks at clock and flags.
const BURST: usize = 512;
/// Longest sleep in one poll.
const POLL: Duration = Duration::from_millis(50);
/// Flushes under way at once; an older one that waits for the store makes the next one larger, not more.
const OPEN_FLUSHES: u64 = 2;
/// How often positions that moved over markers alone are recorded.
const MARKER_COMMIT_INTERVAL: Duration = Duration::from_secs(10);
/// How long a partition that the group takes away waits for its last commit. Past it the new owner's commit or ours wins, and the other is dropped.
const REVOKE_WAIT: Duration = Duration::from_secs(10);
/// Between two returns to the recorded positions for an error of the consumer.
const RESYNC_INTERVAL: Duration = Duration::from_secs(1);

pub struct Fetch {
    pub shared: Arc<Shared>,
    consumer: TopicConsumer,
    output: SyncSender<Fetched>,
    /// The broker has answered once.
    pub connected: bool,
    epoch: u64,
    topic: Option<Arc<TopicIdentity>>,
    /// Number of partitions of the topic when last taken up.
    partitions: i32,
    /// Next offset of each partition that is read, and the same at the last close.
    next: Positions,
    flushed: Positions,
    /// Partitions that have given something since they were assigned: only then librdkafka's own position is of this assignment.
    live: BTreeSet<i32>,
    stopped: BTreeMap<i32, String>,
    ends: Ends,
    chunk: RecordChunk,
    chunk_value_bytes: usize,
    flush_records: u64,
    flush_bytes: u64,
    opened: Option<Instant>,
    last_close: Instant,
    resync_at: Option<Instant>,
    taken_up: bool,
}

/// How waiting for everything sent to be committed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    Clean,
    /// Something was dropped: the recorded positions are behind or elsewhere.
    Rewound,
    TimedOut,
}

impl Fetch {
    pub fn new(shared: Arc<Shared>, output: SyncSender<Fetched>) -> Result<Self> {
        let consumer = TopicConsumer::new(&shared.options, shared.status.clone())?;
        Ok(Self {
            shared,
            consumer,
            output,
            connected: false,
            epoch: 0,
            topic: None,
            partitions: 0,
            next: Positions::new(),
            flushed: Positions::new(),
            live: BTreeSet::new(),
            stopped: BTreeMap::new(),
            ends: Ends::default(),
            chunk: RecordChunk::with_capacity(0, 0),
            chunk_value_bytes: CHUNK_BYTES / 4,
            flush_records: 0,
            flush_bytes: 0,
            opened: None,
            last_close: Instant::now(),
            resync_at: None,
            taken_up: false,
        })
    }

    /// Runs until the shutdown, or with `until_latest` until the ends are committed.
    pub fn run(mut self) -> Result<()> {
        let result = self.read();
        self.consumer.close();
        result
    }

    fn read(&mut self) -> Result<()> {
        if self.in_group() {
            // Fails early where the broker cannot be reached or the topic is missing.
            self.take_up(&Wanted::These(BTreeSet::new()))?;
            self.consumer.join()?;
        } else {
            self.resync()?;
        }
        self.shared.status.phase(Phase::Running);
        loop {
            if self.is_ending() {
                self.shared.status.phase(Phase::Draining);
                let deadline = Instant::now() + self.shared.options.drain_timeout;
                if self.drain(Some(deadline))? == Drained::TimedOut {
                    tracing::warn!("the last records could not be committed in time; the next start reads them again");
                    self.shared.abandon.cancel();
                }
                return Ok(());
            }
            if self.shared.wants_rewind() {
                self.resync()?;
                continue;
            }
            if let Some(rebalance) = self.consumer.next_rebalance() {
                self.answer(rebalance)?;
                continue;
            }
            self.follow_topic()?;
            self.poll_burst()?;
            if self.resync_at.is_some_and(|at| Instant::now() >= at) {
                self.resync_at = None;
                self.drain(Some(Instant::now() + REVOKE_WAIT))?;
                self.resync()?;
                continue;
            }
            if self.is_flush_due() {
                self.close_flush()?;
            }
            let open = &self.shared.status.open_records;
            open.store(self.open_records(), Ordering::Relaxed);
            if self.shared.options.until_latest
                && self.taken_up
                && self.ends.reached(&self.next)
                && self.drain(None)? == Drained::Clean
            {
                self.shared.status.phase(Phase::Draining);
                return Ok(());
            }
        }
    }

    pub fn is_ending(&self) -> bool {
        self.shared.shutdown.is_cancelled() || self.shared.abandon.is_cancelled()
    }

    fn in_group(&self) -> bool {
        self.shared.options.instance_id.is_some()
    }

    pub fn send(&self, item: Fetched) -> Result<()> {
        self.output
            .send(item)
            .map_err(|_| Error::Internal("a later stage has ended".to_owned()))
    }

    fn poll_burst(&mut self) -> Result<()> {
        let mut wait = POLL;
        if let Some(opened) = self.opened {
            wait = wait
                .min(self.shared.options.commit_age.saturating_sub(opened.elapsed()))
                .max(Duration::from_millis(1));
        }
        for _ in 0..BURST {
            // `consumer` is a field of its own so that the message may borrow it while the rest of `self` changes.
            let polled = self.consumer.inner.poll(wait);
            let Some(polled) = polled else { return Ok(()) };
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    let taken = take(&message, &mut self.next, &mut self.chunk);
                    if taken {
                        if self.opened.is_none() {
                            self.opened = Some(Instant::now());
                        }
                        if self.chunk.is_full() {
                            drop(message);
                            self.send_chunk()?;
                            if self.is_flush_large() {
                                return Ok(());
                            }
                        }
                    }
                }
                Err(error) => self.heed(error)?,
            }
        }
        Ok(())
    }

    fn heed(&mut self, error: KafkaError) -> Result<()> {
        match &error {
            KafkaError::PartitionEOF(partition) => {
                self.live.insert(*partition);
                self.ends.announce(*partition);
            }
            KafkaError::MessageConsumptionFatal(code) => {
                let message = format!(
                    "the Kafka consumer cannot go on: {code}; is another instance running under the same instance_id?"
                );
                return Err(Error::Invalid(message));
            }
            KafkaError::MessageConsumption(code) => match code {
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::NoOffset => {
                    tracing::warn!(%code, "a partition cannot be read from its position, looking at it again");
                    self.resync_at.get_or_insert_with(|| Instant::now() + RESYNC_INTERVAL);
                }
                code => {
                    tracing::debug!(%code, "consumer error, librdkafka tries again");
                    self.shared.status.noted(&code.to_string());
                }
            },
            error => tracing::debug!(%error, "consumer event"),
        }
        Ok(())
    }

    /// The topic watch saw more partitions, or another topic under the name.
    fn follow_topic(&mut self) -> Result<()> {
        let Some(observed) = self.shared.observed.lock().take() else {
            return Ok(());
        };
        let Some(known) = &self.topic else { return Ok(()) };
        match observed {
            None => {
                self.shared
                    .status
                    .trouble(&format!("topic `{}` does not exist any more", known.name));
                Ok(())
            }
            Some(topic) if topic.id != known.id => {
                tracing::warn!(topic = known.name, old = %known.id, new = %topic.id, "the topic was made again");
                self.resync()
            }
            Some(topic) if topic.partitions > self.partitions && !self.in_group() => {
                let new = (self.partitions..topic.partitions).collect();
                match self.drain(None)? {
                    Drained::Clean => self.add_partitions(&Wanted::These(new)),
                    _ => self.resync(),
                }
            }
            Some(_) => Ok(()),
        }
    }

    fn answer(&mut self, rebalance: Rebalance) -> Result<()> {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(?partitions, "the group gives partitions");
                let drained = self.drain(None)?;
                self.add_partitions(&Wanted::These(partitions.into_iter().collect()))?;
                if drained == Drained::Rewound {
                    self.resync()
                } else {
                    Ok(())
                }
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(?partitions, "the group takes partitions");
                self.drain(Some(Instant::now() + REVOKE_WAIT))?;
                let read: Vec<i32> = partitions
                    .iter()
                    .copied()
                    .filter(|p| self.next.contains_key(p))
                    .collect();
                self.consumer.unassign(read.into_iter())?;
                for partition in partitions {
                    self.forget(partition);
                }
                self.show_assignment();
                Ok(())
            }
        }
    }

    fn forget(&mut self, partition: i32) {
        self.next.remove(&partition);
        self.flushed.remove(&partition);
        self.live.remove(&partition);
        self.stopped.remove(&partition);
        self.ends.forget_announcement(partition);
    }

    /// Goes back to the positions that the table holds: drops what is under way, plans anew, reads from there.
    fn resync(&mut self) -> Result<()> {
        self.epoch = self.shared.next_epoch();
        self.shared.take_rewind();
        self.discard_open();
        let wanted = if self.in_group() {
            Wanted::These(self.next.keys().chain(self.stopped.keys()).copied().collect())
        } else {
            Wanted::All
        };
        let read: Vec<i32> = self.next.keys().copied().collect();
        if !read.is_empty() {
            self.consumer.unassign(read.into_iter())?;
            // librdkafka drops what it fetched before; what slipped through belongs to the old epoch.
            while self.consumer.inner.poll(Duration::ZERO).is_some() {}
        }
        self.next.clear();
        self.flushed.clear();
        self.live.clear();
        self.stopped.clear();
        self.add_partitions(&wanted)
    }

    fn add_partitions(&mut self, wanted: &Wanted) -> Result<()> {
        let Some(Taken {
            topic,
            partitions,
            starts,
            stopped,
            logs,
        }) = self.take_up(wanted)?
        else {
            return Ok(());
        };
        self.partitions = partitions;
        self.shared.status.topic(&topic);
        self.topic = Some(topic);
        self.taken_up = true;
        for (partition, log) in &logs {
            self.ends.see(*partition, log.end);
        }
        for lost in stopped {
            tracing::error!(
                topic = self.shared.options.topic,
                partition = lost.partition,
                "lost position: {lost}"
            );
            self.stopped.insert(lost.partition, lost.to_string());
        }
        for partition in starts.keys() {
            self.ends.forget_announcement(*partition);
            self.live.remove(partition);
        }
        self.next.extend(starts.iter());
        self.flushed.extend(starts.iter());
        self.shared.status.committed(&starts, None);
        self.show_assignment();
        self.shared.status.phase(Phase::Running);
        self.consumer.assign(&starts)
    }

    fn show_assignment(&self) {
        let stopped = self
            .stopped
            .iter()
            .map(|(partition, message)| (*partition, message.clone()));
        self.shared.status.assignment(self.next.keys().copied(), stopped);
    }

    fn discard_open(&mut self) {
        self.chunk = RecordChunk::with_capacity(0, 0);
        self.flush_records = 0;
        self.flush_bytes = 0;
        self.opened = None;
    }

    fn send_chunk(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.flush_records += self.chunk.rows() as u64;
        self.flush_bytes += self.chunk.value_bytes() as u64;
        // The next chunk is probably about as large.
        self.chunk_value_bytes = (self.chunk.value_bytes() * 9 / 8).clamp(4096, CHUNK_BYTES);
        let rows = (self.chunk.rows() * 9 / 8).clamp(16, CHUNK_ROWS);
        let fresh = RecordChunk::with_capacity(rows, self.chunk_value_bytes);
        let chunk = std::mem::replace(&mut self.chunk, fresh);
        self.send(Fetched::Chunk {
            epoch: self.epoch,
            chunk,
        })
    }

    fn is_flush_large(&self) -> bool {
        self.flush_records >= self.shared.options.commit_rows || self.flush_bytes >= self.shared.options.commit_bytes
    }

    fn open_records(&self) -> u64 {
        self.flush_records + self.chunk.rows() as u64
    }

    fn is_flush_due(&self) -> bool {
        let records = self.open_records();
        let bytes = self.flush_bytes + self.chunk.value_bytes() as u64;
        if records >= self.shared.options.commit_rows || bytes >= self.shared.options.commit_bytes {
            return true;
        }
        match self.opened {
            Some(opened) => {
                opened.elapsed() >= self.shared.options.commit_age && self.shared.open_flushes() < OPEN_FLUSHES
            }
            None => self.last_close.elapsed() >= MARKER_COMMIT_INTERVAL.max(self.shared.options.commit_age),
        }
    }

    /// Ends the flush: everything handed on so far is committed together, or not at all.
    fn close_flush(&mut self) -> Result<()> {
        self.send_chunk()?;
        self.last_close = Instant::now();
        self.pass_markers()?;
        let moved = |(partition, offset): &(&i32, &i64)| self.flushed.get(*partition) != Some(*offset);
        let to: Positions = self.next.iter().filter(moved).map(|(p, o)| (*p, *o)).collect();
        let from = to.keys().filter_map(|p| Some((*p, *self.flushed.get(p)?))).collect();
        let (records, opened) = (self.flush_records, self.opened.take());
        self.flush_records = 0;
        self.flush_bytes = 0;
        let Some(topic) = &self.topic else { return Ok(()) };
        if to.is_empty() {
            return Ok(());
        }
        let flush = Flush {
            epoch: self.epoch,
            topic: topic.clone(),
            from,
            to,
            records,
            opened: opened.unwrap_or_else(Instant::now),
        };
        self.flushed.clone_from(&self.next);
        self.shared.flush_closed();
        self.send(Fetched::Close(flush))
    }

    /// Moves positions over control markers and announced ends; both say that every record below has been given out.
    fn pass_markers(&mut self) -> Result<()> {
        if self.live.is_empty() && self.opened.is_none() {
            return Ok(());
        }
        let known = self.consumer.positions()?;
        for (partition, next) in &mut self.next {
            let has_given = self.live.contains(partition) || self.flushed.get(partition) != Some(next);
            if has_given {
                self.live.insert(*partition);
                *next = (*next).max(known.get(partition).copied().unwrap_or(*next));
            }
            if let Some(end) = self.ends.announced_end(*partition) {
                *next = (*next).max(end);
            }
        }
        Ok(())
    }

    /// Closes the flush and waits until everything sent is settled.
    fn drain(&mut self, deadline: Option<Instant>) -> Result<Drained> {
        self.close_flush()?;
        let (reply, settled) = sync_channel(1);
        self.send(Fetched::Ask(Ask::Settled(reply)))?;
        let drained = match self.wait_for(&settled, deadline)? {
            None => Drained::TimedOut,
            Some(()) if self.shared.wants_rewind() => Drained::Rewound,
            Some(()) => Drained::Clean,
        };
        Ok(drained)
    }
}

/// Copies a message into the chunk and moves its partition's position; false where it is not wanted (not read here, or seen before).
fn take(message: &BorrowedMessage<'_>, next: &mut Positions, chunk: &mut RecordChunk) -> bool {
    let (partition, offset) = (message.partition(), message.offset());
    let Some(expected) = next.get_mut(&partition) else {
        return false;
    };
    if offset < *expected {
        return false;
    }
    *expected = offset + 1;
    chunk.push(
        partition,
        offset,
        message.timestamp().to_millis(),
        message.key(),
        message.payload(),
    );
    true
}

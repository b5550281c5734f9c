//! The feed's way out: trades are encoded at once into a batch, batches go through a bounded queue to the producer.
//!
//! A batch owns one buffer, so a trade costs no allocation. The queue's bound is the back-pressure: nothing is ever dropped here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::status::FeedStatus;
use crate::trade::{Trade, Venue};

/// A batch goes out at this size: large enough to make the queue's cost vanish, small enough to hold milliseconds of trades.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_RECORDS: usize = 1024;
/// Batches between feed and producer: 4 MiB, on top of librdkafka's own queue.
const QUEUE_BATCHES: usize = 16;

/// Encoded records: keys and values one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<RecordEnds>,
}

#[derive(Debug, Clone, Copy)]
struct RecordEnds {
    key: usize,
    value: usize,
}

impl Batch {
    /// An empty batch with room for another like this one.
    fn next_like(&self) -> Self {
        Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: Vec::with_capacity(self.ends.len()),
        }
    }

    fn push(&mut self, trade: &Trade<'_>) {
        trade.write_key(&mut self.bytes);
        let key = self.bytes.len();
        trade.write_json(&mut self.bytes);
        self.ends.push(RecordEnds {
            key,
            value: self.bytes.len(),
        });
    }

    fn push_undecoded(&mut self, venue: &Venue, frame: &str) {
        self.bytes.extend_from_slice(venue.as_str().as_bytes());
        self.bytes.extend_from_slice(b":undecoded");
        let key = self.bytes.len();
        self.bytes.extend_from_slice(frame.as_bytes());
        self.ends.push(RecordEnds {
            key,
            value: self.bytes.len(),
        });
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// (key, value) of each record, in order.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|ends| ends.value));
        starts
            .zip(&self.ends)
            .map(|(start, ends)| (&self.bytes[start..ends.key], &self.bytes[ends.key..ends.value]))
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.ends.len() >= BATCH_RECORDS
    }
}

/// The queue to the producer is gone: the producer has given up or finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// What became of a batch that may not wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    Sent,
    /// The queue stayed full; the batch is kept.
    Full,
}

#[derive(Debug)]
pub struct Sink {
    batch: Batch,
    queue: mpsc::Sender<Batch>,
    status: Arc<FeedStatus>,
}

impl Sink {
    /// A sink, and the queue's other end for the producer.
    pub fn new(status: Arc<FeedStatus>) -> (Self, mpsc::Receiver<Batch>) {
        let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
        (
            Self {
                batch: Batch::default(),
                queue,
                status,
            },
            batches,
        )
    }

    /// Encodes a trade into the current batch. Call a flush when [`Sink::is_full`].
    pub fn push(&mut self, trade: &Trade<'_>) {
        self.batch.push(trade);
        self.status.trades.fetch_add(1, Ordering::Relaxed);
        self.status.last_trade_ts.store(trade.ts, Ordering::Relaxed);
        self.status.last_received_at.store(trade.received_at, Ordering::Relaxed);
    }

    /// Hands on a frame that says it is a trade but does not decode: it becomes a dead letter, not a silence.
    pub fn push_undecoded(&mut self, venue: &Venue, frame: &str) {
        self.batch.push_undecoded(venue, frame);
        self.status.undecoded.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// True where something waits for a flush.
    pub fn has_batch(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Sends the batch, waiting as long as the queue is full. Cancel-safe: the batch stays here until there is room.
    pub async fn flush(&mut self) -> Result<(), Closed> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let permit = self.queue.reserve().await.map_err(|_| Closed)?;
        permit.send(take(&mut self.batch));
        Ok(())
    }

    /// As [`Sink::flush`], but gives up after `patience` and keeps the batch.
    pub async fn flush_within(&mut self, patience: Duration) -> Result<Flushed, Closed> {
        match tokio::time::timeout(patience, self.flush()).await {
            Ok(sent) => sent.map(|()| Flushed::Sent),
            Err(_) => Ok(Flushed::Full),
        }
    }

    /// Sends the batch if there is room now.
    pub fn try_flush(&mut self) -> Result<Flushed, Closed> {
        if self.batch.is_empty() {
            return Ok(Flushed::Sent);
        }
        match self.queue.try_reserve() {
            Ok(permit) => {
                permit.send(take(&mut self.batch));
                Ok(Flushed::Sent)
            }
            Err(TrySendError::Full(())) => Ok(Flushed::Full),
            Err(TrySendError::Closed(())) => Err(Closed),
        }
    }

    /// As [`Sink::flush`], from a thread that may block.
    pub fn flush_blocking(&mut self) -> Result<(), Closed> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.queue.blocking_send(take(&mut self.batch)).map_err(|_| Closed)
    }
}

fn take(batch: &mut Batch) -> Batch {
    let next = batch.next_like();
    std::mem::replace(batch, next)
}

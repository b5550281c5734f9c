//! What all stages of one run see: the tables, the status, and the few flags that travel against the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use ticklake_sql::{Clock, Lake, Table};
use tokio_util::sync::CancellationToken;

use super::super::options::BronzeOptions;
use super::super::status::BronzeStatus;
use super::super::topic::TopicClient;
use super::super::topic_id::TopicDescription;

pub struct Shared {
    pub options: BronzeOptions,
    pub lake: Lake,
    pub clock: Clock,
    pub trades: Table,
    pub dead_letters: Table,
    pub status: Arc<BronzeStatus>,
    pub topic_client: TopicClient,
    /// The caller wants the run to drain.
    pub shutdown: CancellationToken,
    /// The drain took too long, or a stage failed: leave everything where it stands.
    pub abandon: CancellationToken,
    epoch: AtomicU64,
    rewind: AtomicBool,
    /// Flushes closed by fetch and not settled by commit.
    open_flushes: AtomicU64,
    /// Newest look at the topic; `None` inside where it does not exist.
    pub observed: Mutex<Option<Option<TopicDescription>>>,
}

impl Shared {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        options: BronzeOptions,
        lake: Lake,
        trades: Table,
        dead_letters: Table,
        status: Arc<BronzeStatus>,
        topic_client: TopicClient,
        shutdown: CancellationToken,
    ) -> Self {
        let clock = lake.clock().clone();
        Self {
            options,
            lake,
            clock,
            trades,
            dead_letters,
            status,
            topic_client,
            shutdown,
            abandon: CancellationToken::new(),
            epoch: AtomicU64::new(0),
            rewind: AtomicBool::new(false),
            open_flushes: AtomicU64::new(0),
            observed: Mutex::new(None),
        }
    }

    /// Fetch goes back to the recorded positions: everything it sent before is stale.
    pub fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub fn is_stale(&self, epoch: u64) -> bool {
        epoch < self.epoch.load(Ordering::Acquire)
    }

    /// Commit found that the table moved without us: fetch has to go back.
    pub fn ask_rewind(&self) {
        self.rewind.store(true, Ordering::Release);
    }

    pub fn take_rewind(&self) -> bool {
        self.rewind.swap(false, Ordering::AcqRel)
    }

    pub fn wants_rewind(&self) -> bool {
        self.rewind.load(Ordering::Acquire)
    }

    pub fn flush_closed(&self) {
        self.open_flushes.fetch_add(1, Ordering::AcqRel);
    }

    pub fn flush_settled(&self) {
        self.open_flushes.fetch_sub(1, Ordering::AcqRel);
    }

    pub fn open_flushes(&self) -> u64 {
        self.open_flushes.load(Ordering::Acquire)
    }
}

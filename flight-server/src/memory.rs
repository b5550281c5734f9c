//! The memory of one query within the memory of all: how much it holds, how much it held at most, and the slot that it runs in.
//!
//! Every task of a query holds this pool, so the slot is given back when the last of them has really ended, not when its result
//! was cut off.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result as DFResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use crate::admission::Slot;
use crate::queries::Query;

#[derive(Debug)]
pub struct QueryMemory {
    shared: Arc<dyn MemoryPool>,
    held: AtomicUsize,
    /// Of this query alone.
    limit: usize,
    query: Arc<Query>,
    _slot: Slot,
}

impl QueryMemory {
    pub fn new(shared: Arc<dyn MemoryPool>, limit: usize, query: Arc<Query>, slot: Slot) -> Self {
        Self {
            shared,
            held: AtomicUsize::new(0),
            limit,
            query,
            _slot: slot,
        }
    }

    fn took(&self, bytes: usize) {
        let now = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.query.peak_bytes.fetch_max(now, Ordering::Relaxed);
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query {} within {}", self.query.id, self.shared)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shared.grow(reservation, additional);
        self.took(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.shared.shrink(reservation, shrink);
        self.held.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DFResult<()> {
        if self.held.load(Ordering::Relaxed).saturating_add(additional) > self.limit {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "it may hold {} bytes of the server's",
                self.limit
            )));
        }
        self.shared.try_grow(reservation, additional)?;
        self.took(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.shared.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.shared.memory_limit()
    }
}

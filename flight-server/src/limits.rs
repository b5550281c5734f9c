//! How much the queries together may take: slots, waiting places, memory and spill.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::options::ServerOptions;
use crate::status::ServerStatus;

/// Consumers named in an out-of-memory message.
const NAMED_CONSUMERS: usize = 3;

/// Slots for running queries and a bounded queue before them.
#[derive(Debug)]
pub struct Admission {
    slots: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    status: Arc<ServerStatus>,
}

/// One running query's slot, given back on drop.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code)] OwnedSemaphorePermit);

impl Admission {
    pub fn new(options: &ServerOptions, status: Arc<ServerStatus>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(options.max_running)),
            running_max: options.max_running,
            waiting: AtomicUsize::new(0),
            waiting_max: options.max_queued,
            status,
        }
    }

    /// A slot before `deadline`. A full queue refuses at once.
    pub async fn enter(&self, deadline: Instant) -> Result<Slot> {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let _waiting = Waiting::enter(self)?;
        match tokio::time::timeout_at(deadline.into(), self.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            Ok(Err(_)) => Err(Error::Busy("the server is shutting down".into())),
            Err(_) => Err(Error::Busy(format!(
                "all {} query slots stayed taken until the deadline",
                self.running_max
            ))),
        }
    }
}

struct Waiting<'a>(&'a Admission);

impl<'a> Waiting<'a> {
    fn enter(admission: &'a Admission) -> Result<Self> {
        let before = admission.waiting.fetch_add(1, Ordering::SeqCst);
        admission.status.queued(1);
        let place = Waiting(admission);
        if before >= admission.waiting_max {
            return Err(Error::Busy(format!(
                "{} queries run and {} wait, more are not taken",
                admission.running_max, admission.waiting_max
            )));
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.status.queued(-1);
    }
}

/// Memory pool, spill folder and caches that every query shares.
pub fn runtime_env(options: &ServerOptions) -> Result<Arc<RuntimeEnv>> {
    let top = NonZeroUsize::new(NAMED_CONSUMERS).unwrap_or(NonZeroUsize::MIN);
    let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), top);
    let mode = match &options.spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(options.spill_bytes);
    let env = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(options.metadata_cache_bytes)
        .build_arc()?;
    Ok(env)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(max_running: usize, max_queued: usize) -> Arc<Admission> {
        let options = ServerOptions {
            max_running,
            max_queued,
            ..Default::default()
        };
        Arc::new(Admission::new(&options, Arc::default()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let admission = admission(1, 0);
        let slot = admission.enter(soon()).await.unwrap();
        let refused = admission
            .enter(Instant::now() + Duration::from_secs(60))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("try again later"), "{refused}");
        drop(slot);
        admission.enter(soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_query_gets_the_freed_slot() {
        let admission = admission(1, 1);
        let slot = admission.enter(soon()).await.unwrap();
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move {
                admission
                    .enter(Instant::now() + Duration::from_secs(60))
                    .await
                    .map(|_| ())
            }
        });
        while admission.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(slot);
        waiting.await.unwrap().unwrap();
        assert_eq!(admission.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn waiting_ends_at_the_deadline() {
        let admission = admission(1, 1);
        let _slot = admission.enter(soon()).await.unwrap();
        assert!(matches!(admission.enter(soon()).await, Err(Error::Busy(_))));
        assert_eq!(admission.waiting.load(Ordering::SeqCst), 0);
    }
}

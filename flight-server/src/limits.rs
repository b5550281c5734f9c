//! How much the queries together may take of memory and disk.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::error::Result;
use crate::options::ServerOptions;

/// Consumers named in an out-of-memory message.
const NAMED_CONSUMERS: usize = 3;

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

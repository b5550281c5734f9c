//! Starting the stages, and ending them in the order of the stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use ticklake_sql::{Lake, TableName};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::checkpoints;
use super::super::options::BronzeOptions;
use super::super::positions::Positions;
use super::super::status::{BronzeStatus, Phase};
use super::super::topic::TopicClient;
use super::commit::Commits;
use super::fetch::Fetch;
use super::shared::Shared;
use super::{build, topic_watch, write};
use crate::error::{Error, Result};

/// Chunks between two stages: enough to even out, few enough to stay in a few megabytes.
const CHUNKS: usize = 4;
/// Written flushes that wait for the commit before them.
const FLUSHES: usize = 1;

/// How long an abandoned run waits for a call to the store that is under way.
const ABANDON_GRACE: Duration = Duration::from_secs(2);

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BronzeReport {
    pub records: u64,
    pub rows: u64,
    pub dead_letters: u64,
    pub commits: u64,
    pub files: u64,
    pub file_bytes: u64,
    /// Committed position of each partition.
    pub positions: Positions,
}

/// Carries the topic into bronze until `shutdown`, or with `until_latest` until the end offsets seen at the start are committed.
///
/// Errors of the store and the broker are retried without end. A lost position stops its partition, and with `until_latest` fails the run
/// after the other partitions are done ([`Error::LostPositions`]).
pub async fn run(
    options: BronzeOptions,
    lake: Lake,
    status: Arc<BronzeStatus>,
    shutdown: CancellationToken,
) -> Result<BronzeReport> {
    options.validate()?;
    status.begin(lake.clock());
    let topic_client = TopicClient::new(&options.kafka, &options.topic)?;
    lake.probe().await?;
    let trades = lake.create_table(&TableName::bronze_trades()).await?;
    let dead_letters = lake.create_table(&TableName::bronze_dead_letters()).await?;
    let shared = Arc::new(Shared::new(
        options,
        lake,
        trades,
        dead_letters,
        status.clone(),
        topic_client,
        shutdown,
    ));
    let commits = Commits::open(shared.clone()).await?;

    let (to_build, from_fetch) = sync_channel(CHUNKS);
    let (to_write, from_build) = sync_channel(CHUNKS);
    let (to_commit, from_write) = mpsc::channel(FLUSHES);
    let fetch = Fetch::new(shared.clone(), to_build)?;
    let building = {
        let shared = shared.clone();
        move || build::run(&shared, &from_fetch, &to_write)
    };
    let fetching = thread_stage("bronze-fetch", &shared, move || fetch.run())?;
    let building = thread_stage("bronze-build", &shared, building)?;
    let writing = {
        let (shared, runtime) = (shared.clone(), Handle::current());
        move || write::run(&shared, &runtime, &from_build, &to_commit)
    };
    let writing = thread_stage("bronze-write", &shared, writing)?;
    let mut committing = task_stage(&shared, commits.run(from_write));
    let watching = tokio::spawn(topic_watch::run(shared.clone()));
    let upkeep = tokio::spawn(checkpoints::run(shared.clone()));

    let fetched = fetching.await.unwrap_or_else(|_| Err(panicked("fetch")));
    // Fetch has ended, so each stage ends after the one before it; only a store that hangs can hold them, and an abandoned run does not wait for it.
    let committed = end(&shared, &mut committing).await;
    let written = writing.await.unwrap_or_else(|_| Err(panicked("write")));
    let built = building.await.unwrap_or_else(|_| Err(panicked("build")));
    shared.abandon.cancel();
    let _ = watching.await;
    let _ = upkeep.await;
    status.phase(Phase::Ended);
    // A stage that lost its neighbour says less than the neighbour.
    for result in [committed, written, built, fetched] {
        result?;
    }
    let stopped = status.stopped();
    if shared.options.until_latest && !stopped.is_empty() {
        return Err(Error::LostPositions {
            topic: shared.options.topic.clone(),
            partitions: stopped.join("; "),
        });
    }
    Ok(report(&status))
}

/// Runs a stage on a thread of its own; its failure ends the others.
fn thread_stage(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<oneshot::Receiver<Result<()>>> {
    let (done, result) = oneshot::channel();
    let guard = shared.abandon.clone().drop_guard();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let result = work();
            if result.is_ok() {
                guard.disarm();
            }
            let _ = done.send(result);
        })
        .map_err(|error| Error::Internal(format!("thread {name} cannot start: {error}")))?;
    Ok(result)
}

fn task_stage(shared: &Arc<Shared>, work: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<Result<()>> {
    let guard = shared.abandon.clone().drop_guard();
    tokio::spawn(async move {
        let result = work.await;
        if result.is_ok() {
            guard.disarm();
        }
        result
    })
}

/// Waits for a task; an abandoned one only for a moment.
async fn end(shared: &Shared, task: &mut JoinHandle<Result<()>>) -> Result<()> {
    let joined = tokio::select! {
        joined = &mut *task => joined,
        () = abandoned(shared) => {
            task.abort();
            return Ok(());
        }
    };
    joined.unwrap_or_else(|_| Err(panicked("commit")))
}

async fn abandoned(shared: &Shared) {
    shared.abandon.cancelled().await;
    tokio::time::sleep(ABANDON_GRACE).await;
}

fn panicked(stage: &str) -> Error {
    Error::Internal(format!("the {stage} stage of the pipeline panicked"))
}

fn report(status: &BronzeStatus) -> BronzeReport {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    BronzeReport {
        records: count(&status.records),
        rows: count(&status.rows),
        dead_letters: count(&status.dead_letters),
        commits: count(&status.commits),
        files: count(&status.files),
        file_bytes: count(&status.file_bytes),
        positions: status.positions(),
    }
}

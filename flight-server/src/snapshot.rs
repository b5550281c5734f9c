//! Follows the tables of a lake, so that a query pins versions without reading the store.
//!
//! In one process a commit wakes its table; across processes the next commit file is looked for, often while queries
//! read the table, rarely otherwise. A query that meets an older look waits for one, a moment at most.
//!
//! A table may be dropped and made again under its name. Where a query misses a file, and now and then, its newest known version is asked for;
//! where the log does not have it, the table is forgotten, and opened anew by whoever asks next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use deltalake::DeltaTable;
use deltalake::kernel::Add;
use ticklake_sql::error::chain;
use ticklake_sql::log::{self, LogEntry};
use ticklake_sql::{Lake, Table, TableName};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Result};
use crate::options::ServerOptions;
use crate::status::ServerStatus;
use crate::version::TableVersion;

/// What a query waits for a newer look at the log.
const REFRESH_WAIT: Duration = Duration::from_millis(200);
/// Versions kept for tickets that are still out.
const HISTORY: usize = 16;
/// Further behind than this, one load is cheaper than following.
const MAX_FOLLOWED: usize = 256;
/// Between looks while the log cannot be read.
const FAILING_PAUSE: Duration = Duration::from_secs(1);
/// How long the list of tables is taken as it is by metadata calls.
const LISTING_AGE: Duration = Duration::from_secs(1);
/// A store that does not list its tables within this is an error.
const LISTING_WAIT: Duration = Duration::from_secs(5);

/// Every known table at its newest seen version. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lake: Lake,
    tables: RwLock<BTreeMap<TableName, Arc<Follower>>>,
    listed: tokio::sync::Mutex<Option<Instant>>,
    /// How often a table was forgotten.
    generation: AtomicU64,
    status: Arc<ServerStatus>,
    poll: Duration,
    idle_poll: Duration,
    active_for: Duration,
    tasks: TaskTracker,
    /// Followers run beside the network, never among the queries.
    network: Handle,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Follower {
    table: Table,
    newest: watch::Sender<Arc<TableVersion>>,
    history: Mutex<VecDeque<Arc<TableVersion>>>,
    /// One reader of the log at a time; when it last saw the log's end.
    looked: tokio::sync::Mutex<Instant>,
    /// The look that found the newest version.
    found: Mutex<Instant>,
    asked: Mutex<Instant>,
    /// When the newest version was seen to be in the log, and how long that counts.
    there: Mutex<Instant>,
    there_for: Duration,
    /// A table that nobody asked for this long is polled at the idle interval.
    active_for: Duration,
    /// Forgotten: the table is another one by now, or none.
    gone: CancellationToken,
    wake: Notify,
}

impl Snapshots {
    /// `tasks` and `shutdown` bound the life of the followers.
    pub fn new(
        lake: Lake,
        options: &ServerOptions,
        status: Arc<ServerStatus>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            lake,
            tables: RwLock::default(),
            listed: tokio::sync::Mutex::default(),
            generation: AtomicU64::new(0),
            status,
            poll: options.poll_interval,
            idle_poll: options.idle_poll_interval,
            active_for: options.active_for,
            tasks,
            network: Handle::current(),
            shutdown,
        }))
    }

    pub fn lake(&self) -> &Lake {
        &self.0.lake
    }

    /// Every table at its newest seen version, after a look at what tables there are.
    pub async fn all(&self) -> Result<Vec<Arc<TableVersion>>> {
        self.list().await?;
        Ok(self.known())
    }

    /// Every table opened so far, as it was last seen.
    pub fn known(&self) -> Vec<Arc<TableVersion>> {
        let tables = self.0.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.values().map(|f| f.newest.borrow().clone()).collect()
    }

    /// Plans of an earlier one may be of tables that have been made again.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The newest version of `name`; `NotFound` where the lake has no such table.
    pub async fn newest(&self, name: &TableName) -> Result<Arc<TableVersion>> {
        let mut follower = self.follower(name).await?;
        follower.fresh(&self.0.status, self.0.poll).await?;
        if follower.gone.is_cancelled() {
            self.0.forget(&follower);
            follower = self.follower(name).await?;
        }
        let newest = follower.newest.borrow().clone();
        follower.remember(newest.clone());
        Ok(newest)
    }

    /// The newest version of `name` as of a look no older than the one that found the newest of `other`, so that what that was made from is in it.
    pub async fn newest_beside(&self, name: &TableName, other: &TableName) -> Result<Arc<TableVersion>> {
        let (follower, other) = (self.follower(name).await?, self.follower(other).await?);
        let look = async {
            let found = *other.found.lock().unwrap_or_else(PoisonError::into_inner);
            let late = *follower.looked.lock().await < found;
            if late {
                follower.look(&self.0.status).await
            } else {
                Ok(())
            }
        };
        if let Ok(looked) = tokio::time::timeout(REFRESH_WAIT, look).await {
            looked?;
        }
        self.newest(name).await
    }

    /// Version `version` of `name`, for a ticket.
    pub async fn at(&self, name: &TableName, version: u64) -> Result<Arc<TableVersion>> {
        let follower = self.follower(name).await?;
        if let Some(known) = follower.recall(version) {
            return Ok(known);
        }
        let at = follower.load(Some(version)).await.map_err(|error| {
            Error::NotFound(format!(
                "version {version} of {name} can no longer be read; run the query again ({error})"
            ))
        })?;
        follower.remember(at.clone());
        Ok(at)
    }

    /// The version of `name` that was the newest at `us`, microseconds since the epoch.
    pub async fn version_at(&self, name: &TableName, us: i64) -> Result<u64> {
        let follower = self.follower(name).await?;
        let newest = self.newest(name).await?.version();
        let found = last_until(&follower.table, newest, us.div_euclid(1_000)).await?;
        found.ok_or_else(|| {
            Error::NotFound(format!(
                "table {name} cannot be read as of that time: its log does not go back so far"
            ))
        })
    }

    async fn follower(&self, name: &TableName) -> Result<Arc<Follower>> {
        let known = self
            .0
            .tables
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        match known {
            Some(known) => Ok(known),
            None => self.open(self.0.lake.table(name).await?).await,
        }
    }

    /// Looks at what tables there are, within a bound that holds for those who wait for another's look too.
    async fn list(&self) -> Result<()> {
        let listed = tokio::time::timeout(LISTING_WAIT, self.list_now()).await;
        listed.unwrap_or_else(|_| {
            let seconds = LISTING_WAIT.as_secs();
            Err(Error::Store(format!("the store did not answer within {seconds} s")))
        })
    }

    async fn list_now(&self) -> Result<()> {
        let mut listed = self.0.listed.lock().await;
        if listed.is_some_and(|at| at.elapsed() < LISTING_AGE) {
            return Ok(());
        }
        let tables = self.0.lake.tables().await?;
        for follower in self.0.opened() {
            let listed = tables.iter().any(|table| table.name() == follower.table.name());
            // Not listed are tables of a rebuild, too.
            if !listed && !follower.is_there().await? {
                self.0.forget(&follower);
            }
        }
        for table in tables {
            let known = self
                .0
                .tables
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(table.name());
            if !known {
                self.open(table).await?;
            }
        }
        *listed = Some(Instant::now());
        Ok(())
    }

    /// Loads `table` and starts following it; the first of racing callers wins.
    async fn open(&self, table: Table) -> Result<Arc<Follower>> {
        let name = table.name().clone();
        let first = load(&table, None).await?;
        let follower = Arc::new(Follower {
            table,
            newest: watch::Sender::new(first),
            history: Mutex::default(),
            looked: tokio::sync::Mutex::new(Instant::now()),
            found: Mutex::new(Instant::now()),
            asked: Mutex::new(Instant::now()),
            there: Mutex::new(Instant::now()),
            there_for: self.0.idle_poll,
            active_for: self.0.active_for,
            gone: CancellationToken::new(),
            wake: Notify::new(),
        });
        let mut tables = self.0.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tables.get(&name) {
            return Ok(known.clone());
        }
        tables.insert(name, follower.clone());
        self.0
            .tasks
            .spawn_on(follow(follower.clone(), self.0.clone()), &self.0.network);
        Ok(follower)
    }
}

impl Shared {
    fn opened(&self) -> Vec<Arc<Follower>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.values().cloned().collect()
    }

    /// Nothing of the table counts any more: neither what it was, nor what is kept of its log.
    fn forget(&self, follower: &Arc<Follower>) {
        let name = follower.table.name();
        follower.gone.cancel();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.get(name).is_some_and(|known| Arc::ptr_eq(known, follower)) {
            tables.remove(name);
            self.lake.forget(name);
            self.generation.fetch_add(1, Ordering::AcqRel);
            tracing::info!(table = %name, "the table was dropped or made again");
        }
    }
}

/// Looks for commits until shutdown, or until the table is gone: at once after one of this process, else at the poll interval.
async fn follow(follower: Arc<Follower>, shared: Arc<Shared>) {
    let mut committed = follower.table.committed();
    let mut own_commits = true;
    let mut failing = false;
    loop {
        let pause = if failing {
            shared.poll.max(FAILING_PAUSE)
        } else if follower.is_active() {
            shared.poll
        } else {
            shared.idle_poll
        };
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = follower.gone.cancelled() => return shared.forget(&follower),
            changed = committed.changed(), if own_commits => own_commits = changed.is_ok(),
            () = follower.wake.notified(), if !failing => continue,
            () = tokio::time::sleep(pause) => {}
        }
        let looked = follower.look(&shared.status).await;
        // Said once, however long it lasts.
        match (&looked, failing) {
            (Err(error), false) => {
                shared.status.noted(shared.lake.clock().now_us(), error.to_string());
                tracing::warn!(table = %follower.table.name(), error = %chain(error), "cannot follow the table's log");
            }
            (Ok(()), true) => tracing::info!(table = %follower.table.name(), "following the table's log again"),
            _ => {}
        }
        failing = looked.is_err();
    }
}

impl Follower {
    fn is_active(&self) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < self.active_for
    }

    /// Makes sure that the log was looked at within `poll`, if that takes only a moment.
    async fn fresh(&self, status: &ServerStatus, poll: Duration) -> Result<()> {
        let was_active = self.is_active();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if !was_active {
            self.wake.notify_one();
        }
        let looked = match self.looked.try_lock() {
            Ok(looked) => looked.elapsed(),
            Err(_) => Duration::MAX,
        };
        if looked <= poll * 2 && !self.newest.borrow().misses_a_file() {
            return Ok(());
        }
        match tokio::time::timeout(REFRESH_WAIT, self.look(status)).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }

    async fn is_there(&self) -> Result<bool> {
        let version = self.newest.borrow().version();
        Ok(self.table.has_entry(version).await?)
    }

    fn is_to_be_asked_for(&self) -> bool {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= self.there_for
    }

    /// Takes over every commit after the newest seen one; notes where that is not in the log any more.
    async fn look(&self, status: &ServerStatus) -> Result<()> {
        let mut looked = self.looked.lock().await;
        let current = self.newest.borrow().clone();
        if current.misses_a_file() || self.is_to_be_asked_for() {
            if current.misses_a_file() || !self.is_there().await? {
                self.gone.cancel();
                return Ok(());
            }
            *self.there.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        let mut entries: Vec<LogEntry> = Vec::new();
        let reload = loop {
            status.probed();
            let next = current.version() + 1 + entries.len() as u64;
            match log::read(&self.table, next).await {
                Ok(Some(entry)) if entry.changes_table => break true,
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break false,
                Err(error) if error.kind() == ticklake_sql::ErrorKind::Data => break true,
                Err(error) => return Err(error.into()),
            }
            if entries.len() > MAX_FOLLOWED {
                break true;
            }
        };
        if reload {
            let newest = self.load(None).await?;
            self.show(newest);
        } else if !entries.is_empty() {
            self.show(Arc::new(current.after(&entries)?));
        }
        *looked = Instant::now();
        Ok(())
    }

    /// The time first: whoever sees the version sees when it was found.
    fn show(&self, newest: Arc<TableVersion>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.newest.send_replace(newest);
    }

    async fn load(&self, version: Option<u64>) -> Result<Arc<TableVersion>> {
        load(&self.table, version).await
    }

    fn recall(&self, version: u64) -> Option<Arc<TableVersion>> {
        let newest = self.newest.borrow().clone();
        if newest.version() == version {
            return Some(newest);
        }
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().find(|v| v.version() == version).cloned()
    }

    /// Keeps a version that a ticket may name.
    fn remember(&self, version: Arc<TableVersion>) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.iter().any(|v| v.version() == version.version()) {
            return;
        }
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(version);
    }
}

/// The last version up to `newest` that was committed by `ms`, as the commits themselves say: the times of their files change when a lake is copied.
async fn last_until(table: &Table, newest: u64, ms: i64) -> Result<Option<u64>> {
    let (mut from, mut to) = (0, newest + 1);
    let mut found = None;
    while from < to {
        let version = from + (to - from) / 2;
        // The log's clean-up takes entries from the oldest on.
        let Some(entry) = log::read(table, version).await? else {
            from = version + 1;
            continue;
        };
        if commit_ms(&entry).is_some_and(|at| at <= ms) {
            found = Some(version);
            from = version + 1;
        } else {
            to = version;
        }
    }
    Ok(found)
}

fn commit_ms(entry: &LogEntry) -> Option<i64> {
    entry
        .info
        .as_ref()
        .and_then(|info| info.in_commit_timestamp.or(info.timestamp))
}

async fn load(table: &Table, version: Option<u64>) -> Result<Arc<TableVersion>> {
    let loaded = table.load(version).await?;
    Ok(Arc::new(from_delta(table, &loaded)?))
}

fn from_delta(table: &Table, loaded: &DeltaTable) -> Result<TableVersion> {
    let unreadable = |e: deltalake::DeltaTableError| Error::Store(format!("state of table {}: {e}", table.name()));
    let state = loaded.snapshot().map_err(unreadable)?;
    let version = state.version();
    let files = state.log_data();
    let adds = files.iter().map(|view| Add {
        path: view.path().to_string(),
        partition_values: view.partition_values_map(),
        size: view.size(),
        modification_time: view.modification_time(),
        data_change: true,
        stats: view.stats(),
        deletion_vector: view.deletion_vector_descriptor(),
        ..Default::default()
    });
    // The columns of that version: another may be partitioned otherwise.
    let spec = match state.metadata().partition_columns() {
        same if *same == table.spec().partition_columns => table.spec().clone(),
        other => {
            let columns: Vec<&str> = other.iter().map(String::as_str).collect();
            Arc::new(table.spec().partitioned_by(&columns)?)
        }
    };
    TableVersion::new(
        spec,
        version,
        state.version_timestamp(version),
        adds.collect::<Vec<_>>(),
    )
}

//! The statements that run here and the last ones that ran: what `system.queries` shows, what can be cancelled, and the audit
//! line of each.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ticklake_sql::Clock;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::error::Error;
use crate::identity::Identity;

/// Ended statements that are still shown.
const KEPT: usize = 1_000;
/// Of a statement, in the log and in the table.
const SHOWN_SQL_CHARS: usize = 2_000;

/// One statement from its arrival to its last byte.
#[derive(Debug)]
pub struct Query {
    pub id: String,
    pub user: Arc<str>,
    pub peer: Option<SocketAddr>,
    /// The user agent that the client names.
    pub client: String,
    pub sql: String,
    pub started_us: i64,
    pub cancel: CancellationToken,
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    /// Of memory that operators reserved, at its peak.
    pub peak_bytes: AtomicUsize,
    arrived: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub state: State,
    pub versions: BTreeMap<String, u64>,
    /// Time spent so far, or in all.
    pub queued: Duration,
    pub planned: Duration,
    pub executed: Duration,
    /// `ok`, or the gRPC code.
    pub outcome: Option<String>,
    pub error: Option<String>,
    since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    #[default]
    Queued,
    Planning,
    Running,
    Ended,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

impl Query {
    pub fn progress(&self) -> Progress {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        progress.spend();
        progress
    }

    pub fn planning(&self) {
        self.enter(State::Planning);
    }

    pub fn running(&self, versions: BTreeMap<String, u64>) {
        self.enter(State::Running);
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).versions = versions;
    }

    fn enter(&self, state: State) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.spend();
        progress.state = state;
        progress.since = Some(Instant::now());
    }

    fn end(&self, outcome: String, error: Option<String>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.spend();
        progress.state = State::Ended;
        progress.since = None;
        progress.outcome = Some(outcome);
        progress.error = error;
    }
}

impl Progress {
    /// Books the time since the last change to the state that it was spent in.
    fn spend(&mut self) {
        let Some(since) = self.since.replace(Instant::now()) else {
            return;
        };
        match self.state {
            State::Queued => self.queued += since.elapsed(),
            State::Planning => self.planned += since.elapsed(),
            State::Running => self.executed += since.elapsed(),
            State::Ended => self.since = None,
        }
    }
}

#[derive(Debug)]
pub struct Queries {
    /// A ticket may run more than once, so ids repeat.
    running: Mutex<Vec<Arc<Query>>>,
    ended: Mutex<VecDeque<Arc<Query>>>,
    clock: Clock,
    /// Statements stand in the log and in `system.queries` as their digest only.
    redact: bool,
}

impl Queries {
    pub fn new(clock: Clock, redact: bool) -> Self {
        Self {
            running: Mutex::default(),
            ended: Mutex::default(),
            clock,
            redact,
        }
    }

    /// A statement that arrived. It is shown as ended once the returned guard is dropped.
    pub fn begin(self: &Arc<Self>, id: String, sql: &str, caller: &Caller, cancel: CancellationToken) -> Running {
        let query = Arc::new(Query {
            id,
            user: caller.identity.user.clone(),
            peer: caller.peer,
            client: caller.agent.clone(),
            sql: self.shown(sql),
            started_us: self.clock.now_us(),
            cancel,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            peak_bytes: AtomicUsize::new(0),
            arrived: Instant::now(),
            progress: Mutex::new(Progress {
                since: Some(Instant::now()),
                ..Default::default()
            }),
        });
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(query.clone());
        Running {
            queries: self.clone(),
            query,
            outcome: None,
        }
    }

    fn shown(&self, sql: &str) -> String {
        if self.redact {
            return format!("sha256:{}", digest(sql));
        }
        match sql.char_indices().nth(SHOWN_SQL_CHARS) {
            Some((end, _)) => format!("{} ...", &sql[..end]),
            None => sql.to_owned(),
        }
    }

    /// Those that `identity` may see, running ones first, then the newest.
    pub fn visible(&self, identity: &Identity) -> Vec<Arc<Query>> {
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(ended.iter().rev().cloned());
        drop(ended);
        all.retain(|query| identity.admin || query.user == identity.user);
        all
    }

    /// Stops query `id` if it runs here and is the caller's, or the caller an admin.
    pub fn cancel(&self, id: &str, identity: &Identity) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = |query: &&Arc<Query>| query.id == id && (identity.admin || query.user == identity.user);
        let found: Vec<_> = running.iter().filter(theirs).collect();
        found.iter().for_each(|query| query.cancel.cancel());
        !found.is_empty()
    }

    /// The audit line of a statement that never ran.
    pub fn refused(self: &Arc<Self>, sql: &str, caller: &Caller, error: &Error) {
        let mut refused = self.begin(uuid::Uuid::new_v4().to_string(), sql, caller, CancellationToken::new());
        refused.failed(error);
    }

    fn ended(&self, query: &Arc<Query>) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| !Arc::ptr_eq(other, query));
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() == KEPT {
            ended.pop_front();
        }
        ended.push_back(query.clone());
    }
}

fn digest(sql: &str) -> String {
    Sha256::digest(sql.as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// A statement on its way; dropping it ends it.
#[derive(Debug)]
pub struct Running {
    queries: Arc<Queries>,
    pub query: Arc<Query>,
    outcome: Option<(String, Option<String>)>,
}

impl Running {
    pub fn done(&mut self) {
        self.outcome = Some(("ok".to_owned(), None));
    }

    pub fn failed(&mut self, error: &Error) {
        // A message may quote the statement.
        let text = (!self.queries.redact).then(|| error.to_string());
        self.outcome = Some((error.code_name(), text));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let gone = || ("abandoned".to_owned(), Some("the client went away".to_owned()));
        let (outcome, error) = self.outcome.take().unwrap_or_else(gone);
        self.query.end(outcome, error);
        self.queries.ended(&self.query);
        audit(&self.query);
    }
}

/// One line a statement, whatever became of it.
fn audit(query: &Query) {
    let progress = query.progress();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        target: "ticklake_flight_server::audit",
        id = query.id,
        user = %query.user,
        peer = query.peer.map(tracing::field::display),
        client = query.client,
        protocol = "flight-sql",
        tables = %serde_json::json!(progress.versions),
        rows = query.rows.load(Ordering::Relaxed),
        bytes = query.bytes.load(Ordering::Relaxed),
        queue_ms = ms(progress.queued),
        plan_ms = ms(progress.planned),
        execute_ms = ms(progress.executed),
        elapsed_ms = ms(query.arrived.elapsed()),
        peak_bytes = query.peak_bytes.load(Ordering::Relaxed),
        outcome = progress.outcome.as_deref().unwrap_or_default(),
        error = progress.error.as_deref().unwrap_or_default(),
        sql = query.sql,
        "statement"
    );
}

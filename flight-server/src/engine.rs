//! The one query path behind every face: parse, pin, plan, admit, execute, stream.
//!
//! Queries run on a runtime of their own: a query that computes for long must not keep the network from answering.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Admission, Bounds, Slot};
use crate::bounding::Bounding;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::functions;
use crate::identity::Identity;
use crate::latest::Latest;
use crate::limits::runtime_env;
use crate::memory::QueryMemory;
use crate::options::ServerOptions;
use crate::output;
use crate::plan::{Lane, Parsed};
use crate::plan_cache::PlanCache;
use crate::planned::Planned;
use crate::profile::Profile;
use crate::queries::{Queries, Query, Running};
use crate::quotient::WideQuotients;
use crate::read_once::ReadOnce;
use crate::runs::Runs;
use crate::scan::STORE_URL;
use crate::schemas::{CATALOG, Catalogs, DEFAULT_SCHEMA};
use crate::session::{Session, UTC};
use crate::snapshot::Snapshots;
use crate::status::ServerStatus;
use crate::stream::{self, Frames};
use crate::ticket::{Claims, Kind, Signer, fingerprint};
use crate::yielding::YieldingJoins;

/// A statement that reads only what is known of tables neither waits for those that read rows, nor gets round their limits.
const METADATA_RUNNING: usize = 4;
const METADATA_WAITING: usize = 64;
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const METADATA_ROWS: u64 = 100_000;
const METADATA_BYTES: usize = 32 << 20;
/// Statements longer than this are parsed one at a time.
const LONG_SQL_BYTES: usize = 64 << 10;
/// No clock counts further than this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Without users everyone has the one name, which says nothing of who they are.
fn per_user(options: &ServerOptions, one: usize, all: usize) -> usize {
    match options.users_file {
        Some(_) => one.min(all),
        None => all,
    }
}

fn rows_lane(options: &ServerOptions) -> Bounds {
    Bounds {
        running: options.max_running,
        waiting: options.max_queued,
        running_per_user: per_user(options, options.max_running_per_user, options.max_running),
        waiting_per_user: per_user(options, options.max_queued_per_user, options.max_queued),
    }
}

fn metadata_lane(options: &ServerOptions) -> Bounds {
    Bounds {
        running: METADATA_RUNNING,
        waiting: METADATA_WAITING,
        running_per_user: per_user(options, METADATA_RUNNING / 2, METADATA_RUNNING),
        waiting_per_user: per_user(options, METADATA_WAITING / 2, METADATA_WAITING),
    }
}

pub struct Engine {
    pub(crate) template: SessionState,
    pub snapshots: Snapshots,
    pub signer: Signer,
    pub status: Arc<ServerStatus>,
    pub options: ServerOptions,
    /// Of statements that read rows, and of those that read only what is known of tables.
    admission: Arc<Admission>,
    metadata: Arc<Admission>,
    pub statements: Arc<Queries>,
    pub(crate) plans: PlanCache,
    pub(crate) latest: Latest,
    runtimes: Runtimes,
    /// Held while a long statement is parsed.
    long: Semaphore,
    shutdown: CancellationToken,
}

/// Where statements compute, apart from the network.
pub struct Runtimes {
    pub queries: Handle,
    /// What takes little, while statements keep every thread of the others: parsing, and those that read no rows.
    pub light: Handle,
}

/// A statement's place among those that run.
struct Turn {
    slot: Slot,
    runtime: Handle,
    deadline: Instant,
    limit: Duration,
    max_rows: u64,
    max_memory: usize,
}

/// What CreatePreparedStatement tells about a statement.
pub struct Prepared {
    /// With `$n` placeholders.
    pub sql: String,
    pub schema: SchemaRef,
    pub parameter_types: Vec<Option<DataType>>,
}

/// What GetFlightInfo tells about a statement.
pub struct Described {
    pub schema: SchemaRef,
    pub ticket: Bytes,
    pub app_metadata: Bytes,
}

impl Engine {
    pub fn new(
        snapshots: Snapshots,
        signer: Signer,
        options: ServerOptions,
        status: Arc<ServerStatus>,
        runtimes: Runtimes,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let runtime = runtime_env(&options)?;
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        runtime.register_object_store(url.as_ref(), snapshots.lake().object_store());
        let threads = runtimes.queries.metrics().num_workers();
        Ok(Self {
            template: template(runtime, threads)?,
            admission: Admission::new(rows_lane(&options), status.clone()),
            metadata: Admission::new(metadata_lane(&options), status.clone()),
            statements: Arc::new(Queries::new(snapshots.lake().clock().clone(), options.redact_sql)),
            snapshots,
            signer,
            status,
            options,
            plans: PlanCache::default(),
            latest: Latest::default(),
            runtimes,
            long: Semaphore::new(1),
            shutdown,
        })
    }

    /// Plans in its turn: planning is query work, and is bounded like it.
    async fn in_turn<T, F>(
        self: &Arc<Self>,
        sql: String,
        session: Session,
        caller: &Caller,
        work: impl FnOnce(Arc<Parsed>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let limit = self.deadline(caller, &session);
        let (engine, text) = (self.clone(), sql.clone());
        let planned = async {
            let turn = self.admit(&sql, &session, &caller.identity.user, limit).await?;
            let slot = turn.slot;
            let planned = compute(&turn.runtime, async move {
                // Given back when planning has really ended.
                let _slot = slot;
                work(engine.parse(&text, &session)?).await
            });
            until((turn.deadline, turn.limit), planned).await
        };
        let outcome = until(limit, planned).await;
        if let Err(error) = &outcome {
            self.statements.refused(&sql, caller, error);
        }
        outcome
    }

    /// A slot in the lane that `sql` belongs to. It is parsed to know that, and its tree not kept while it waits: that may have a hundred
    /// times its bytes.
    async fn admit(
        self: &Arc<Self>,
        sql: &str,
        session: &Session,
        user: &Arc<str>,
        limit: (Instant, Duration),
    ) -> Result<Turn> {
        let lane = match self.plans.lane(sql, session) {
            Some(lane) => lane,
            None => {
                let (engine, sql, session) = (self.clone(), sql.to_owned(), session.clone());
                compute(&self.runtimes.light, async move { engine.lane(&sql, &session).await }).await?
            }
        };
        self.turn(lane, user, limit).await
    }

    async fn lane(&self, sql: &str, session: &Session) -> Result<Lane> {
        let long = sql.len() > LONG_SQL_BYTES;
        let _alone = if long { self.long.acquire().await.ok() } else { None };
        Ok(self.parse(sql, session)?.lane)
    }

    /// A slot in `lane`, and what the statement may take there.
    async fn turn(&self, lane: Lane, user: &Arc<str>, (deadline, limit): (Instant, Duration)) -> Result<Turn> {
        if lane == Lane::Metadata {
            let soon = Instant::now() + METADATA_TIMEOUT;
            let (deadline, limit) = (deadline, limit).min((soon, METADATA_TIMEOUT));
            return Ok(Turn {
                slot: self.metadata.enter(user, deadline).await?,
                runtime: self.runtimes.light.clone(),
                deadline,
                limit,
                max_rows: METADATA_ROWS,
                max_memory: METADATA_BYTES,
            });
        }
        let runtime = match lane {
            Lane::Constants => &self.runtimes.light,
            Lane::Metadata | Lane::Rows => &self.runtimes.queries,
        };
        Ok(Turn {
            slot: self.admission.enter(user, deadline).await?,
            runtime: runtime.clone(),
            deadline,
            limit,
            max_rows: self.options.max_rows,
            max_memory: usize::MAX,
        })
    }

    /// The least of the client's, the session's and the server's limit, from now.
    fn deadline(&self, caller: &Caller, session: &Session) -> (Instant, Duration) {
        let asked = [caller.timeout, session.timeout()].into_iter().flatten().min();
        let limit = asked
            .unwrap_or(Duration::MAX)
            .min(self.options.query_timeout)
            .min(LONGEST);
        (Instant::now() + limit, limit)
    }

    pub async fn prepare(self: &Arc<Self>, sql: String, caller: Caller) -> Result<Prepared> {
        let (engine, who) = (self.clone(), caller.clone());
        self.in_turn(sql, caller.session.clone(), &who, move |parsed| async move {
            let planned = engine.plan(parsed, &caller.session, &caller.identity, None).await?;
            Ok(Prepared {
                sql: planned.parsed.sql.clone(),
                schema: output::schema(planned.plan.schema().as_arrow(), caller.profile),
                parameter_types: planned.parameter_types.clone(),
            })
        })
        .await
    }

    /// Plans `claims` (SQL and bound values) and seals the ticket that runs it.
    pub async fn describe(self: &Arc<Self>, mut claims: Claims, caller: Caller) -> Result<Described> {
        let (engine, who) = (self.clone(), caller.clone());
        let session = claims.session.clone().unwrap_or_default();
        self.in_turn(claims.sql.clone(), session.clone(), &who, move |parsed| async move {
            let planned = engine.plan(parsed, &session, &caller.identity, None).await?;
            let (_, schema) = Runs::new(planned.clone(), claims.parameters.as_deref())?;
            let schema = output::schema(&schema, caller.profile);
            claims.query_id = uuid::Uuid::new_v4().to_string();
            claims.sql = planned.parsed.sql.clone();
            claims.versions = planned.versions.clone();
            claims.profile = caller.profile.to_code();
            claims.schema_fingerprint = fingerprint(&schema);
            let app_metadata = engine.app_metadata(&claims.query_id, &planned);
            let ticket = engine.signer.seal(Kind::Ticket, claims, engine.options.ticket_lifetime);
            Ok(Described {
                schema,
                ticket,
                app_metadata,
            })
        })
        .await
    }

    fn app_metadata(&self, query_id: &str, planned: &Planned) -> Bytes {
        serde_json::json!({ "query_id": query_id, "versions": planned.versions, "age_ms": self.age_ms(planned) })
            .to_string()
            .into()
    }

    /// Table -> milliseconds since its pinned commit.
    fn age_ms<'a>(&self, planned: &'a Planned) -> BTreeMap<&'a String, i64> {
        let now_ms = self.snapshots.lake().clock().now_us() / 1_000;
        let committed = planned.committed_ms.iter();
        committed.map(|(name, ms)| (name, (now_ms - ms).max(0))).collect()
    }

    /// Runs what a ticket says. Waits for a slot, then returns frames as they come.
    pub async fn run(self: &Arc<Self>, claims: Claims, caller: Caller) -> Result<Frames> {
        let session = claims.session.clone().unwrap_or_default();
        let limit = self.deadline(&caller, &session);
        self.status.query_started();
        let cancel = self.shutdown.child_token();
        let id = claims.query_id.clone();
        let mut running = self.statements.begin(id, &claims.sql, &caller, cancel);
        match self.start(claims, session, &caller, &running, limit).await {
            Ok((work, versions, age_ms)) => {
                let query = running.query.clone();
                let run = stream::Run {
                    engine: self.clone(),
                    work,
                    running,
                };
                Ok(Frames {
                    stream: stream::start(run),
                    query,
                    versions,
                    age_ms,
                })
            }
            Err(error) => {
                running.failed(&error);
                Err(error)
            }
        }
    }

    async fn start(
        self: &Arc<Self>,
        claims: Claims,
        session: Session,
        caller: &Caller,
        running: &Running,
        limit: (Instant, Duration),
    ) -> Result<(stream::Work, String, String)> {
        let (engine, identity) = (self.clone(), caller.identity.clone());
        let statement = running.query.clone();
        let cancel = statement.cancel.clone();
        let started = async {
            let turn = self.admit(&claims.sql, &session, &identity.user, limit).await?;
            statement.planning();
            let (runtime, limit) = (turn.runtime.clone(), (turn.deadline, turn.limit));
            let work = async move { engine.work(claims, &session, &identity, turn, statement).await };
            until(limit, compute(&runtime, work)).await
        };
        tokio::select! {
            () = cancel.cancelled() => Err(Error::Cancelled),
            started = until(limit, started) => started,
        }
    }

    /// What is to be computed of `claims`, and the versions that it reads with their age.
    async fn work(
        &self,
        claims: Claims,
        session: &Session,
        identity: &Identity,
        turn: Turn,
        statement: Arc<Query>,
    ) -> Result<(stream::Work, String, String)> {
        let profile = Profile::from_code(claims.profile)?;
        let parsed = self.parse(&claims.sql, session)?;
        let planned = self.plan(parsed, session, identity, Some(claims.versions)).await?;
        let versions = serde_json::json!(planned.versions).to_string();
        let age_ms = serde_json::json!(self.age_ms(&planned)).to_string();
        statement.running(planned.versions.clone());
        let (runs, schema) = Runs::new(planned, claims.parameters.as_deref())?;
        let schema = output::schema(&schema, profile);
        if fingerprint(&schema) != claims.schema_fingerprint {
            return Err(Error::Ticket(
                "the result has another schema by now; run the query again".into(),
            ));
        }
        let shared = self.template.runtime_env();
        let pool = QueryMemory::new(
            shared.memory_pool.clone(),
            turn.max_memory,
            statement.clone(),
            turn.slot,
        );
        let mut runtime = shared.as_ref().clone();
        runtime.memory_pool = Arc::new(pool);
        let work = stream::Work {
            runs: runs.within(Arc::new(runtime), statement.cancel.clone()),
            schema,
            runtime: turn.runtime,
            deadline: turn.deadline,
            limit: turn.limit,
            max_rows: turn.max_rows,
            max_bytes: self.options.max_bytes,
        };
        Ok((work, versions, age_ms))
    }

    /// Stops a query that runs here, for its owner or an admin; false where there is none of that id.
    pub fn cancel(&self, query_id: &str, identity: &Identity) -> bool {
        self.statements.cancel(query_id, identity)
    }

    /// Counts and logs an error on its way to the client.
    pub fn fail(&self, error: Error) -> tonic::Status {
        // A message may quote the statement.
        let told = if self.options.redact_sql {
            error.code_name()
        } else {
            error.to_string()
        };
        tracing::info!(kind = ?error.kind(), error = told, "request failed");
        self.status.failed(self.snapshots.lake().clock().now_us(), told);
        error.into()
    }
}

/// Runs `work` on `runtime`; it ends with the caller. Trees of statements and plans are also dropped there, where stacks are deep
/// enough for them.
async fn compute<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = AbortOnDropHandle::new(runtime.spawn(work));
    task.await
        .map_err(|e| Error::Internal(format!("planning ended: {e}")))?
}

async fn until<T>((deadline, limit): (Instant, Duration), work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Deadline(limit)),
    }
}

/// The session that every query's own is cloned from: all functions, no tables, nothing that can be changed by SQL.
fn template(runtime: Arc<RuntimeEnv>, threads: usize) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(threads.max(1));
    let options = config.options_mut();
    options.execution.time_zone = Some(UTC.to_owned());
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(vec![Arc::new(WideQuotients)])
        .with_default_features()
        .with_analyzer_rule(Arc::new(Bounding))
        .with_physical_optimizer_rule(Arc::new(ReadOnce))
        .with_physical_optimizer_rule(Arc::new(YieldingJoins))
        .with_catalog_list(Arc::new(Catalogs(Arc::default())))
        .build();
    functions::bound(&mut state)?;
    Ok(state)
}

//! The one query path behind every face: parse, pin, plan, admit, execute, stream.
//!
//! Queries run on a runtime of their own: a query that computes for long must not keep the network from answering.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::limits::{Admission, runtime_env};
use crate::options::ServerOptions;
use crate::output;
use crate::plan::{self, Parsed};
use crate::plan_cache::PlanCache;
use crate::profile::Profile;
use crate::runs::{Runs, optimized};
use crate::scan::STORE_URL;
use crate::schemas::{CATALOG, Catalogs, DEFAULT_SCHEMA, PinnedCatalog};
use crate::snapshot::Snapshots;
use crate::status::ServerStatus;
use crate::stream::{self, Frames};
use crate::ticket::{Claims, Kind, Signer, fingerprint};
use crate::version::TableVersion;
use crate::yielding::YieldingJoins;

pub struct Engine {
    template: SessionState,
    pub snapshots: Snapshots,
    pub signer: Signer,
    pub status: Arc<ServerStatus>,
    pub options: ServerOptions,
    admission: Admission,
    plans: PlanCache,
    queries: Handle,
    running: Mutex<HashMap<String, Running>>,
    shutdown: CancellationToken,
}

/// A query that runs here.
struct Running {
    user: Arc<str>,
    cancel: CancellationToken,
}

/// A statement planned against pinned versions; parameters still open.
#[derive(Debug)]
pub struct Planned {
    pub parsed: Arc<Parsed>,
    pub state: SessionState,
    pub plan: LogicalPlan,
    /// Where it is the same at every execution.
    pub optimized: Option<LogicalPlan>,
    pub parameter_types: Vec<Option<DataType>>,
    pub versions: BTreeMap<String, u64>,
    committed_ms: BTreeMap<String, i64>,
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
        queries: Handle,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let runtime = runtime_env(&options)?;
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        runtime.register_object_store(url.as_ref(), snapshots.lake().object_store());
        let threads = queries.metrics().num_workers();
        Ok(Self {
            template: template(runtime, threads)?,
            admission: Admission::new(&options, status.clone()),
            snapshots,
            signer,
            status,
            options,
            plans: PlanCache::default(),
            queries,
            running: Mutex::default(),
            shutdown,
        })
    }

    /// Runs `work` where queries compute; it ends with the caller. Trees of statements and plans are also dropped there,
    /// where stacks are deep enough for them.
    async fn compute<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let task = AbortOnDropHandle::new(self.queries.spawn(work));
        task.await
            .map_err(|e| Error::Internal(format!("planning ended: {e}")))?
    }

    /// Parses and plans `sql` against `versions`, or the newest ones where none are given, as `identity` may read.
    async fn plan(
        &self,
        sql: &str,
        identity: &Identity,
        versions: Option<BTreeMap<String, u64>>,
    ) -> Result<Arc<Planned>> {
        let parsed = match self.plans.parsed(sql) {
            Some(parsed) => parsed,
            None => Arc::new(plan::parse(sql, self.options.max_statement_bytes)?),
        };
        for table in &parsed.tables {
            identity.check_schema(table.schema())?;
        }
        let (pinned, missing) = self.pin(&parsed, versions).await?;
        let versions: BTreeMap<_, _> = pinned.iter().map(|v| (v.name().to_string(), v.version())).collect();
        // A list of tables is not pinned by any version: it is planned anew.
        let cacheable = !parsed.lists_tables && missing.is_empty();
        if cacheable && let Some(planned) = self.plans.get(&parsed.sql, &versions) {
            return Ok(planned);
        }
        let committed_ms = pinned
            .iter()
            .filter_map(|v| Some((v.name().to_string(), v.committed_ms()?)))
            .collect();
        let mut tables = if parsed.lists_tables {
            self.snapshots.all().await?
        } else {
            Vec::new()
        };
        tables.retain(|table| identity.may_read(table.name().schema()));
        let state = self.session(identity, tables.into_iter().chain(pinned));
        let plan = plan::plan(&state, &parsed, &missing).await?;
        let parameter_types = plan::parameter_types(&plan, parsed.parameters)?;
        let optimized = if cacheable { optimized(&state, &plan) } else { None };
        let planned = Arc::new(Planned {
            parsed,
            state,
            optimized,
            plan,
            parameter_types,
            versions,
            committed_ms,
        });
        if cacheable {
            self.plans.put(planned.clone());
        }
        Ok(planned)
    }

    /// The versions that the statement's tables are read at, and the names of those that do not exist.
    async fn pin(
        &self,
        parsed: &Parsed,
        versions: Option<BTreeMap<String, u64>>,
    ) -> Result<(Vec<Arc<TableVersion>>, Vec<String>)> {
        let mut missing = parsed.others.clone();
        let mut pinned = Vec::new();
        for name in &parsed.tables {
            let wanted = versions.as_ref().and_then(|v| v.get(&name.to_string()).copied());
            let found = match wanted {
                Some(version) => self.snapshots.at(name, version).await,
                None => self.snapshots.newest(name).await,
            };
            match found {
                Ok(version) => pinned.push(version),
                Err(Error::NotFound(_)) if wanted.is_none() => missing.push(name.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok((pinned, missing))
    }

    /// What a statement is planned with: only the tables that it may see are there.
    fn session(&self, identity: &Identity, tables: impl IntoIterator<Item = Arc<TableVersion>>) -> SessionState {
        let mut state = self.template.clone();
        let catalog = PinnedCatalog::new(|schema| identity.may_read(schema), tables);
        state.register_catalog_list(Arc::new(Catalogs(Arc::new(catalog))));
        state
    }

    pub async fn prepare(self: &Arc<Self>, sql: String, caller: Caller) -> Result<Prepared> {
        let engine = self.clone();
        self.compute(async move {
            let planned = engine.plan(&sql, &caller.identity, None).await?;
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
        let engine = self.clone();
        self.compute(async move {
            let planned = engine.plan(&claims.sql, &caller.identity, None).await?;
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
        let now_ms = self.snapshots.lake().clock().now_us() / 1_000;
        let age_ms: BTreeMap<_, _> = planned
            .committed_ms
            .iter()
            .map(|(n, ms)| (n, (now_ms - ms).max(0)))
            .collect();
        serde_json::json!({ "query_id": query_id, "versions": planned.versions, "age_ms": age_ms })
            .to_string()
            .into()
    }

    /// Runs what a ticket says. Waits for a slot, then returns frames as they come.
    pub async fn run(self: &Arc<Self>, claims: Claims, caller: Caller) -> Result<Frames> {
        let limit = caller.timeout.unwrap_or(Duration::MAX).min(self.options.query_timeout);
        let deadline = Instant::now() + limit;
        let profile = Profile::from_code(claims.profile)?;
        self.status.query_started();
        let slot = self.admission.enter(deadline).await?;
        let engine = self.clone();
        self.compute(async move {
            let planned = engine
                .plan(&claims.sql, &caller.identity, Some(claims.versions))
                .await?;
            let versions = serde_json::json!(planned.versions).to_string();
            let (runs, schema) = Runs::new(planned, claims.parameters.as_deref())?;
            let schema = output::schema(&schema, profile);
            if fingerprint(&schema) != claims.schema_fingerprint {
                return Err(Error::Ticket(
                    "the result has another schema by now; run the query again".into(),
                ));
            }
            let cancel = engine.shutdown.child_token();
            engine.running.lock().unwrap_or_else(PoisonError::into_inner).insert(
                claims.query_id.clone(),
                Running {
                    user: caller.identity.user.clone(),
                    cancel: cancel.clone(),
                },
            );
            let query = stream::Query {
                query_id: claims.query_id,
                runs,
                schema,
                slot,
                deadline,
                limit,
                max_rows: engine.options.max_rows,
                cancel,
                engine: engine.clone(),
            };
            Ok(stream::start(query, &engine.queries, versions))
        })
        .await
    }

    pub(crate) fn finished(&self, query_id: &str) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(query_id);
    }

    /// Stops a query that runs here, for its owner or an admin; false where there is none of that id.
    pub fn cancel(&self, query_id: &str, identity: &Identity) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let found = running.get(query_id);
        let theirs = found.filter(|query| identity.admin || query.user == identity.user);
        theirs.map(|query| query.cancel.cancel()).is_some()
    }

    /// Counts and logs an error on its way to the client.
    pub fn fail(&self, error: Error) -> tonic::Status {
        self.status.failed(self.snapshots.lake().clock().now_us(), &error);
        tracing::info!(kind = ?error.kind(), error = %error, "request failed");
        error.into()
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
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    Ok(SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(YieldingJoins))
        .with_catalog_list(Arc::new(Catalogs(Arc::default())))
        .build())
}

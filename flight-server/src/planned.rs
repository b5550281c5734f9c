//! A statement planned against pinned versions, in a catalog that holds only what its caller may read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use ticklake_sql::TableName;

use crate::bind;
use crate::database;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::functions::Share;
use crate::identity::Identity;
use crate::latest;
use crate::plan::{self, Parsed};
use crate::runs::optimized;
use crate::schemas::{Catalogs, Made, PinnedCatalog};
use crate::session::{Session, UTC};
use crate::system;
use crate::travel::{self, At, TableAt};
use crate::version::TableVersion;

/// A statement planned against pinned versions; parameters still open.
#[derive(Debug)]
pub struct Planned {
    pub parsed: Arc<Parsed>,
    pub session: Session,
    pub state: SessionState,
    pub plan: LogicalPlan,
    /// Where it is the same at every execution.
    pub optimized: Option<LogicalPlan>,
    pub parameter_types: Vec<Option<DataType>>,
    pub versions: BTreeMap<String, u64>,
    /// Of the tables, at which it was planned.
    pub generation: u64,
    pub committed_ms: BTreeMap<String, i64>,
}

/// The versions that a statement reads.
#[derive(Default)]
struct Pinned {
    tables: Vec<Arc<TableVersion>>,
    /// Those of `table_at`, by their key.
    travels: HashMap<String, Arc<TableVersion>>,
    /// Where the trades of `gold.latest` are found; not a table of the statement.
    trades: Option<Arc<TableVersion>>,
    missing: Vec<String>,
    versions: BTreeMap<String, u64>,
    committed_ms: BTreeMap<String, i64>,
}

impl Pinned {
    fn note(&mut self, key: String, version: &TableVersion) {
        if let Some(ms) = version.committed_ms() {
            self.committed_ms.insert(key.clone(), ms);
        }
        self.versions.insert(key, version.version());
    }
}

/// Functions such as `now()` keep the settings that they were made with.
fn tell_functions(state: &mut SessionState) -> Result<()> {
    let options = state.config().options();
    let changed: Vec<_> = state
        .scalar_functions()
        .values()
        .filter_map(|function| function.inner().with_updated_config(options))
        .collect();
    for function in changed {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

impl Engine {
    /// Plans `parsed` against `versions`, or the newest ones where none are given, as `identity` may read.
    pub(crate) async fn plan(
        &self,
        parsed: Arc<Parsed>,
        session: &Session,
        identity: &Identity,
        versions: Option<BTreeMap<String, u64>>,
    ) -> Result<Arc<Planned>> {
        for table in &parsed.tables {
            identity.check_schema(table.schema())?;
        }
        for travel in &parsed.travels {
            identity.check_schema(travel.table.schema())?;
        }
        let generation = self.snapshots.generation();
        let pinned = self.pin(&parsed, versions).await?;
        // A list of tables is not pinned by any version: it is planned anew.
        let cacheable = !parsed.lists_tables && pinned.missing.is_empty();
        if cacheable && let Some(planned) = self.plans.get(&parsed.sql, session, &pinned.versions, generation) {
            return Ok(planned);
        }
        let mut state = self.state(session, identity, &parsed, &pinned).await?;
        let Pinned {
            versions,
            committed_ms,
            missing,
            ..
        } = pinned;
        let plan = plan::plan(&state, &parsed, &missing).await?;
        let parameter_types = bind::types(&plan, parsed.parameters)?;
        let plan = bind::typed(plan, &parameter_types)?;
        state.config_mut().options_mut().extensions.insert(Share::of(&plan)?);
        // What functions are told when they are called.
        state.mark_start_execution();
        let optimized = if cacheable { optimized(&state, &plan) } else { None };
        let planned = Arc::new(Planned {
            parsed,
            session: session.clone(),
            state,
            optimized,
            plan,
            parameter_types,
            versions,
            generation,
            committed_ms,
        });
        if cacheable {
            self.plans.put(planned.clone());
        }
        Ok(planned)
    }

    /// The versions that the statement's tables are read at, and the names of those that do not exist.
    async fn pin(&self, parsed: &Parsed, versions: Option<BTreeMap<String, u64>>) -> Result<Pinned> {
        let mut pinned = Pinned {
            missing: parsed.others.clone(),
            ..Default::default()
        };
        let wanted = |key: &str| versions.as_ref().and_then(|v| v.get(key).copied());
        let mut names: Vec<&TableName> = parsed.tables.iter().collect();
        // The bars before the trades that they are made of.
        names.sort_by_key(|name| parsed.latest && **name != latest::source());
        for name in names {
            let key = name.to_string();
            let found = match wanted(&key) {
                Some(version) => self.snapshots.at(name, version).await,
                None if parsed.latest && *name == latest::trades() => {
                    self.snapshots.newest_beside(name, &latest::source()).await
                }
                None => self.snapshots.newest(name).await,
            };
            match found {
                Ok(version) => {
                    pinned.note(key, &version);
                    pinned.tables.push(version);
                }
                Err(Error::NotFound(_)) if wanted(&key).is_none() => pinned.missing.push(key),
                Err(error) => return Err(error),
            }
        }
        if parsed.latest {
            if pinned.missing.is_empty() {
                self.pin_trades(&mut pinned, versions.as_ref()).await?;
            } else {
                pinned.missing.push(format!("{}.{}", latest::SCHEMA, latest::TABLE));
            }
        }
        for travel in &parsed.travels {
            let key = travel.to_string();
            let version = match (wanted(&key), travel.at) {
                (Some(version), _) | (None, At::Version(version)) => version,
                (None, At::Time(us)) => self.snapshots.version_at(&travel.table, us).await?,
            };
            let version = self.snapshots.at(&travel.table, version).await?;
            pinned.note(key.clone(), &version);
            pinned.travels.insert(key, version);
        }
        Ok(pinned)
    }

    /// The version of silver's trades that `gold.latest` looks into; None where the lake has none.
    async fn pin_trades(&self, pinned: &mut Pinned, versions: Option<&BTreeMap<String, u64>>) -> Result<()> {
        let name = latest::trades();
        let known = pinned.tables.iter().find(|t| *t.name() == name).cloned();
        let found = match (known, versions) {
            (Some(known), _) => Ok(known),
            (None, None) => self.snapshots.newest_beside(&name, &latest::source()).await,
            (None, Some(versions)) => match versions.get(&name.to_string()) {
                Some(version) => self.snapshots.at(&name, *version).await,
                // There were none when the ticket was made.
                None => return Ok(()),
            },
        };
        match found {
            Ok(version) => {
                pinned.note(name.to_string(), &version);
                pinned.trades = Some(version);
                Ok(())
            }
            Err(Error::NotFound(_)) if versions.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a statement is planned with: only the tables that it may see are there.
    async fn state(
        &self,
        session: &Session,
        identity: &Identity,
        parsed: &Parsed,
        pinned: &Pinned,
    ) -> Result<SessionState> {
        let mut tables = pinned.tables.clone();
        let mut made = Made::new();
        let bars = |tables: &[Arc<TableVersion>]| tables.iter().find(|t| *t.name() == latest::source()).cloned();
        if parsed.latest
            && let Some(bars) = bars(&tables)
        {
            made.insert(
                (latest::SCHEMA, latest::TABLE),
                self.latest.at(&bars, pinned.trades.as_deref(), &self.template).await?,
            );
        }
        if parsed.lists_tables {
            let mut all = self.snapshots.all().await?;
            all.retain(|table| identity.may_read(table.name().schema()));
            // Their rows only where they are asked for; a list of tables has their columns.
            let asked = |name: &str| parsed.system.contains(name);
            let queries = if asked(system::QUERIES) {
                self.statements.visible(identity)
            } else {
                Vec::new()
            };
            made.insert((system::SCHEMA, system::QUERIES), system::queries(&queries)?);
            let shown = if asked(system::TABLES) { all.as_slice() } else { &[] };
            let stands = system::tables(self.snapshots.lake(), shown).await?;
            made.insert((system::SCHEMA, system::TABLES), stands);
            if !parsed.latest
                && let Some(bars) = bars(&all)
            {
                made.insert((latest::SCHEMA, latest::TABLE), latest::empty(&bars)?);
            }
            // Those that are pinned come last and win.
            tables.splice(0..0, all);
        }
        let mut state = self.template.clone();
        let options = state.config_mut().options_mut();
        options.catalog.default_schema = session.schema().to_owned();
        if session.time_zone() != UTC {
            options.execution.time_zone = Some(session.time_zone().to_owned());
            tell_functions(&mut state)?;
        }
        state.register_udf(Arc::new(database::function(session.schema())))?;
        let catalog = PinnedCatalog::new(|schema| identity.may_read(schema), tables, made);
        state.register_catalog_list(Arc::new(Catalogs(Arc::new(catalog))));
        if !pinned.travels.is_empty() {
            state.register_udtf(travel::NAME, Arc::new(TableAt(pinned.travels.clone())));
        }
        Ok(state)
    }

    pub(crate) fn parse(&self, sql: &str, session: &Session) -> Result<Arc<Parsed>> {
        match self.plans.parsed(sql, session) {
            Some(parsed) => Ok(parsed),
            None => plan::parse(sql, self.options.max_statement_bytes, session.schema()).map(Arc::new),
        }
    }
}

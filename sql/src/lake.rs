//! A lake: the folder or bucket prefix under which every table lies, and the one place that opens or creates them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::ddl::TableSpec;
use crate::log_state::{LogState, checkpoint_hint};
use crate::recent::Recent;
use crate::store::{Location, Storage};
use crate::tip::Tip;
use crate::{Clock, Error, History, Lease, Requests, Result, Table, TableName, create, probe, tables};

/// The store that holds `uri`, and the path in it: for what lies outside of a lake, such as files to load.
pub fn store_at(uri: &str, storage: &Storage) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let location = Location::open(uri, storage, Durability::Os)?;
    let path = Path::from_url_path(location.url.path()).map_err(|e| Error::Invalid(format!("address {uri}: {e}")))?;
    Ok((location.root, path))
}

/// Other writers append while a table's columns are loosened: lost races before the next opening has to do it.
const LOOSEN_ATTEMPTS: usize = 20;

/// How a write to local disk is made durable before it counts as done. Object stores are durable by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// fsync data files and their folder before the commit, and the commit after it.
    #[default]
    Sync,
    /// Leave it to the operating system: survives a crash of the process, not of the machine.
    Os,
}

#[derive(Debug, Clone, Default)]
pub struct LakeOptions {
    pub storage: Storage,
    pub durability: Durability,
    /// Partition columns of silver.trades and gold.ohlcv_*, applied when a table is created or clustered. None for a table: those of its definition where it
    /// is created, and where it exists those that it has.
    pub partition_columns: BTreeMap<TableName, Vec<String>>,
    /// Applied when a table is created; `None`: that of the definition.
    pub history: Option<History>,
    /// Small files that this process has lately written or read stay in memory, up to so many bytes; 0: none.
    pub recent_bytes: u64,
}

/// Cheap to clone; clones share the store and the commit wake-ups of this process.
#[derive(Debug, Clone)]
pub struct Lake(Arc<Shared>, Option<Lease>);

#[derive(Debug)]
struct Shared {
    uri: String,
    location: Location,
    store: Arc<dyn ObjectStore>,
    recent: Option<Arc<Recent>>,
    prefix: Path,
    options: LakeOptions,
    clock: Clock,
    tips: Mutex<HashMap<TableName, Arc<Tip>>>,
    /// Tables partitioned otherwise than the options say, of which that was told.
    told: Mutex<HashSet<TableName>>,
}

impl Lake {
    /// `uri` is a folder, `file://...`, `s3://bucket/prefix`, `gs://...` or `az://...`. Touches nothing yet.
    pub fn open(uri: &str, options: LakeOptions, clock: Clock) -> Result<Self> {
        let location = Location::open(uri, &options.storage, options.durability)?;
        Self::over(uri, location, options, clock)
    }

    /// A lake over a store of the caller's, `url` being its address in it: tests put their faults here.
    pub fn with_store(url: &str, root: Arc<dyn ObjectStore>, options: LakeOptions, clock: Clock) -> Result<Self> {
        let mut parsed =
            Url::parse(url).map_err(|e| Error::Invalid(format!("lake address {url} is not valid: {e}")))?;
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let local = parsed.scheme() == "file";
        Self::over(
            url,
            Location {
                url: parsed,
                root,
                local,
                requests: None,
            },
            options,
            clock,
        )
    }

    fn over(uri: &str, mut location: Location, options: LakeOptions, clock: Clock) -> Result<Self> {
        let mut recent = None;
        if options.recent_bytes > 0 {
            let memory = Arc::new(Recent::new(location.root, options.recent_bytes));
            location.root = memory.clone();
            recent = Some(memory);
        }
        let prefix =
            Path::from_url_path(location.url.path()).map_err(|e| Error::Invalid(format!("lake address {uri}: {e}")))?;
        let store = Arc::new(PrefixStore::new(location.root.clone(), prefix.clone()));
        let tips = Mutex::default();
        let shared = Shared {
            uri: uri.to_owned(),
            location,
            store,
            recent,
            prefix,
            options,
            clock,
            tips,
            told: Mutex::default(),
        };
        Ok(Self(Arc::new(shared), None))
    }

    /// The same lake, every commit to whose tables carries the lease's token and is refused once a later holder's is in the log.
    pub fn under(&self, lease: Lease) -> Self {
        Self(self.0.clone(), Some(lease))
    }

    pub fn lease(&self) -> Option<&Lease> {
        self.1.as_ref()
    }

    /// Requests to the store by this process, where it opened the store itself.
    pub fn requests(&self) -> Option<&Arc<Requests>> {
        self.0.location.requests.as_ref()
    }

    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// How patient the store's client is, and what goes up in parts.
    pub fn storage(&self) -> &Storage {
        &self.0.options.storage
    }

    /// The lake lies on a disk of this machine.
    pub fn is_local(&self) -> bool {
        self.0.location.local
    }

    /// Proves that the store refuses a second conditional put; call once in every role that writes.
    pub async fn probe(&self) -> Result<()> {
        probe::probe(self).await
    }

    /// Opens the table, creating it from its definition where it does not exist. Racing creators end with one table.
    pub async fn create_table(&self, name: &TableName) -> Result<Table> {
        let (spec, log_store) = (self.spec(name)?, self.log_store(name)?);
        let unseen = || Error::Data {
            table: name.clone(),
            message: "was created but cannot be read back: the store does not show what was written".into(),
        };
        let mut state = match self.read_state(name, &log_store).await? {
            Some(state) => state,
            None => {
                create::create(self, &spec, &log_store).await?;
                self.read_state(name, &log_store).await?.ok_or_else(unseen)?
            }
        };
        for _ in 0..LOOSEN_ATTEMPTS {
            if !create::loosen(self, &spec, &log_store, &state).await? {
                break;
            }
            state = self.read_state(name, &log_store).await?.ok_or_else(unseen)?;
        }
        let table = self.checked(spec, log_store, state)?;
        self.tell_other_partitions(&table);
        Ok(table)
    }

    /// The partition columns that the options name for this table.
    pub fn wanted_partitions(&self, name: &TableName) -> Option<&[String]> {
        let columns = self.0.options.partition_columns.get(name)?;
        (!columns.is_empty()).then_some(columns.as_slice())
    }

    /// Writers keep to what the table has: said once.
    fn tell_other_partitions(&self, table: &Table) {
        let has = &table.spec().partition_columns;
        let Some(wanted) = self.wanted_partitions(table.name()).filter(|wanted| wanted != has) else {
            return;
        };
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(table.name().clone()) {
            tracing::warn!(
                "{name} is partitioned by {} and lake.partition_columns says {}: `ticklake optimize --cluster {name}` rewrites it, until then it stays as it is",
                has.join(", "),
                wanted.join(", "),
                name = table.name(),
            );
        }
    }

    /// Creates the table that holds the result of a rebuild of `table`, in the same columns and partitions.
    pub async fn create_rebuilt(&self, table: &Table, id: &str) -> Result<Table> {
        let name = table.name().rebuilt(id);
        let mut spec = table.spec().as_ref().clone();
        spec.name = name.clone();
        let log_store = self.log_store(&name)?;
        create::create(self, &spec, &log_store).await?;
        self.table(&name).await
    }

    /// The results of rebuilds that lie beside their tables.
    pub async fn rebuilt_tables(&self) -> Result<Vec<TableName>> {
        let mut names = self.listed("silver").await?;
        names.extend(self.listed("gold").await?);
        names.retain(|name| name.of_rebuilt().is_some());
        Ok(names)
    }

    /// Removes the result of a rebuild with all its files, its log first, so that what a kill leaves is no table.
    pub async fn drop_rebuilt(&self, name: &TableName) -> Result<()> {
        if name.of_rebuilt().is_none() {
            return Err(Error::Internal(format!("{name} is no result of a rebuild")));
        }
        let folder = name
            .path()
            .split('/')
            .fold(Path::default(), |path, part| path.join(part));
        for part in [folder.clone().join("_delta_log"), folder] {
            let found: Vec<_> = self
                .0
                .store
                .list(Some(&part))
                .map_ok(|object| object.location)
                .try_collect()
                .await
                .map_err(|e| self.unreachable(e))?;
            for path in found {
                match self.delete(&path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(e) => return Err(self.unreachable(e)),
                }
            }
        }
        // A store of objects has no folders that could stay behind empty.
        let folder = self.0.location.url.join(&format!("{}/", name.path()));
        if self.is_local()
            && let Some(Ok(folder)) = folder.ok().map(|folder| folder.to_file_path())
        {
            match std::fs::remove_dir_all(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(table = %name, %error, "an empty folder could not be removed"),
            }
        }
        Ok(())
    }

    /// Opens a table that must exist (`Error::TableNotFound` otherwise).
    pub async fn table(&self, name: &TableName) -> Result<Table> {
        self.find_table(name).await?.ok_or_else(|| Error::TableNotFound {
            table: name.clone(),
            lake: self.uri().to_owned(),
        })
    }

    /// Opens a table where it exists.
    pub async fn find_table(&self, name: &TableName) -> Result<Option<Table>> {
        let (spec, log_store) = (self.spec(name)?, self.log_store(name)?);
        match self.read_state(name, &log_store).await? {
            Some(state) => self.checked(spec, log_store, state).map(Some),
            None => Ok(None),
        }
    }

    /// Every table of the contract that exists in this lake, in data-flow order (gold intervals as found), then the system tables.
    pub async fn tables(&self) -> Result<Vec<Table>> {
        let mut gold = self.listed("gold").await?;
        gold.retain(|name| name.ohlcv_interval().is_some());
        let mut system = self.listed("system").await?;
        system.retain(|name| tables::system().contains(name));
        let mut found = Vec::new();
        for name in tables::fixed().into_iter().chain(gold).chain(system) {
            found.extend(self.find_table(&name).await?);
        }
        Ok(found)
    }

    /// Version of a table's newest checkpoint, as the hint in its log says.
    pub async fn checkpoint_version(&self, name: &TableName) -> Result<Option<u64>> {
        let hint = checkpoint_hint(&self.log_store(name)?).await?;
        Ok(hint.map(|hint| hint.version))
    }

    /// Tables of a schema by their folders, in the order of their names.
    async fn listed(&self, schema: &str) -> Result<Vec<TableName>> {
        let folder = Path::from(schema);
        let listed = self.0.store.list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(|e| self.unreachable(e))?;
        let named = |path: &Path| TableName::parse(&format!("{schema}.{}", path.filename()?)).ok();
        let mut names: Vec<_> = listed.common_prefixes.iter().filter_map(named).collect();
        names.sort();
        Ok(names)
    }

    /// The store rooted at the lake (for `_ticklake/...` files such as heartbeats and probes).
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.0.store.clone()
    }

    fn spec(&self, name: &TableName) -> Result<Arc<TableSpec>> {
        let mut spec = tables::spec(name)?;
        match self.0.options.partition_columns.get(name) {
            Some(columns) if !columns.is_empty() => {
                let columns: Vec<_> = columns.iter().map(String::as_str).collect();
                spec = Arc::new(spec.partitioned_by(&columns)?);
            }
            _ => {}
        }
        if let Some(history) = self.0.options.history {
            history.write_to(&mut Arc::make_mut(&mut spec).properties);
        }
        Ok(spec)
    }

    fn log_store(&self, name: &TableName) -> Result<LogStoreRef> {
        let path = format!("{}/", name.path());
        let url = self
            .0
            .location
            .url
            .join(&path)
            .map_err(|e| Error::Internal(format!("address of table {name}: {e}")))?;
        let store = Arc::new(PrefixStore::new(self.0.location.root.clone(), self.folder(name)));
        Ok(default_logstore(
            store,
            self.0.location.root.clone(),
            &url,
            &StorageConfig::default(),
        ))
    }

    fn folder(&self, name: &TableName) -> Path {
        let parts = name.path();
        parts
            .split('/')
            .fold(self.0.prefix.clone(), |path, part| path.join(part))
    }

    /// What is kept in memory of a table is not counted on any more: it was dropped, and perhaps made again.
    pub fn forget(&self, name: &TableName) {
        if let Some(recent) = &self.0.recent {
            recent.forget_below(&self.folder(name));
        }
    }

    async fn read_state(&self, name: &TableName, log_store: &LogStoreRef) -> Result<Option<LogState>> {
        LogState::read(name, log_store).await.map_err(|error| match error {
            Error::Store { source, .. } => self.unreachable(source),
            other => other,
        })
    }

    fn checked(&self, spec: Arc<TableSpec>, log_store: LogStoreRef, state: LogState) -> Result<Table> {
        let spec = create::check(&spec, &state)?;
        let tip = self.tip(&spec.name, state.version);
        Ok(Table::new(self.clone(), spec, log_store, tip))
    }

    fn tip(&self, name: &TableName, version: u64) -> Arc<Tip> {
        let mut tips = self.0.tips.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let tip = tips.entry(name.clone()).or_insert_with(|| Arc::new(Tip::new(version)));
        tip.clone()
    }

    /// The sentence a user gets when the lake does not answer.
    pub(crate) fn unreachable(&self, source: object_store::Error) -> Error {
        use object_store::Error as Store;
        let advice = match (&source, self.is_local()) {
            (Store::PermissionDenied { .. }, true) => {
                "give this user the right to read and write the folder, or name another one"
            }
            (Store::PermissionDenied { .. } | Store::Unauthenticated { .. }, false) => {
                "check the access key, the secret and the bucket's policy"
            }
            (Store::NotFound { .. }, false) => "create the bucket, or check its name and the endpoint",
            (_, true) => "check the disk and the folder's permissions",
            (_, false) => "check the endpoint, the bucket's name and the network",
        };
        Error::Unreachable {
            lake: self.uri().to_owned(),
            advice,
            source,
        }
    }

    /// Removes nothing but what the caller names; used to clean up after a probe.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), object_store::Error> {
        let one = futures::stream::iter([Ok(path.clone())]);
        self.0
            .store
            .delete_stream(Box::pin(one))
            .try_for_each(|_| async { Ok(()) })
            .await
    }
}

//! The tables of one query as a DataFusion catalog: `ticklake.{bronze,silver,gold}`, each table at its pinned version.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result as DFResult;

use crate::scan::PinnedTable;
use crate::system;
use crate::version::TableVersion;

pub const CATALOG: &str = "ticklake";
/// Always there, with or without tables.
pub const SCHEMAS: [&str; 3] = ["bronze", "silver", "gold"];
/// What is asked for, and what is not of the lake: see `system`.
type Extra = BTreeMap<String, Arc<dyn TableProvider>>;
/// Where a table name without a schema is looked for.
pub const DEFAULT_SCHEMA: &str = "gold";

/// Read-only by construction: nothing can be registered.
#[derive(Debug, Default)]
pub struct PinnedCatalog {
    schemas: BTreeMap<String, Arc<PinnedSchema>>,
    system: Option<Arc<MadeSchema>>,
}

/// Tables whose rows were made for this statement.
#[derive(Debug)]
struct MadeSchema(Extra);

#[derive(Debug, Default)]
struct PinnedSchema {
    tables: BTreeMap<String, Arc<TableVersion>>,
}

impl PinnedCatalog {
    /// `may_read` says which schemas are there, with or without tables.
    pub fn new(
        may_read: impl Fn(&str) -> bool,
        versions: impl IntoIterator<Item = Arc<TableVersion>>,
        system: Extra,
    ) -> Self {
        let mut schemas: BTreeMap<String, PinnedSchema> = SCHEMAS
            .iter()
            .filter(|name| may_read(name))
            .map(|name| ((*name).to_owned(), PinnedSchema::default()))
            .collect();
        for version in versions {
            let tables = &mut schemas.entry(version.name().schema().to_owned()).or_default().tables;
            tables.insert(version.name().table().to_owned(), version);
        }
        Self {
            schemas: schemas
                .into_iter()
                .map(|(name, schema)| (name, Arc::new(schema)))
                .collect(),
            system: (!system.is_empty()).then(|| Arc::new(MadeSchema(system))),
        }
    }
}

impl CatalogProvider for PinnedCatalog {
    fn schema_names(&self) -> Vec<String> {
        let made = self.system.iter().map(|_| system::SCHEMA.to_owned());
        self.schemas.keys().cloned().chain(made).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == system::SCHEMA {
            return self.system.clone().map(|s| s as Arc<dyn SchemaProvider>);
        }
        self.schemas.get(name).map(|s| s.clone() as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> DFResult<Option<Arc<dyn TableProvider>>> {
        let table = self
            .tables
            .get(name)
            .map(|v| Arc::new(PinnedTable::new(v.clone())) as Arc<dyn TableProvider>);
        Ok(table)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

#[async_trait]
impl SchemaProvider for MadeSchema {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> DFResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// The one catalog of a query's session.
#[derive(Debug)]
pub struct Catalogs(pub Arc<PinnedCatalog>);

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| self.0.clone() as Arc<dyn CatalogProvider>)
    }
}

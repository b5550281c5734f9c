//! The tables of one query as a DataFusion catalog: `ticklake.{bronze,silver,gold,system}`, each table at its pinned version.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result as DFResult;

use crate::scan::PinnedTable;
use crate::version::TableVersion;

pub const CATALOG: &str = "ticklake";
/// Always there, with or without tables.
pub const SCHEMAS: [&str; 4] = ["bronze", "silver", "gold", "system"];
/// Tables whose rows are made for the statement, by schema and name.
pub type Made = BTreeMap<(&'static str, &'static str), Arc<dyn TableProvider>>;
/// Where a table name without a schema is looked for.
pub const DEFAULT_SCHEMA: &str = "gold";

/// Read-only by construction: nothing can be registered.
#[derive(Debug, Default)]
pub struct PinnedCatalog {
    schemas: BTreeMap<String, Arc<PinnedSchema>>,
}

#[derive(Debug, Default)]
struct PinnedSchema {
    tables: BTreeMap<String, Arc<TableVersion>>,
    made: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

impl PinnedCatalog {
    /// `may_read` says which schemas are there, with or without tables.
    pub fn new(
        may_read: impl Fn(&str) -> bool,
        versions: impl IntoIterator<Item = Arc<TableVersion>>,
        made: Made,
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
        for ((schema, table), rows) in made {
            schemas.entry(schema.to_owned()).or_default().made.insert(table, rows);
        }
        Self {
            schemas: schemas
                .into_iter()
                .map(|(name, schema)| (name, Arc::new(schema)))
                .collect(),
        }
    }
}

impl CatalogProvider for PinnedCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).map(|s| s.clone() as Arc<dyn SchemaProvider>)
    }
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        let made = self.made.keys().map(|name| (*name).to_owned());
        self.tables.keys().cloned().chain(made).collect()
    }

    async fn table(&self, name: &str) -> DFResult<Option<Arc<dyn TableProvider>>> {
        let pinned = self.tables.get(name);
        let pinned = pinned.map(|v| Arc::new(PinnedTable::new(v.clone())) as Arc<dyn TableProvider>);
        Ok(pinned.or_else(|| self.made.get(name).cloned()))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.made.contains_key(name)
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

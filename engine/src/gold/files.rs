//! The active data files of a table as of one version, followed commit by commit.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::{Add, Remove};
use ticklake_sql::Table;
use ticklake_sql::ddl::TableSpec;

use crate::Result;
use crate::error::Step;
use crate::scan::DataFile;

#[derive(Debug, Default)]
pub struct Files {
    by_path: HashMap<String, Arc<DataFile>>,
}

impl Files {
    /// The files at `version`.
    pub async fn load(table: &Table, version: u64) -> Result<Self> {
        let mut files = Self::default();
        let (_, adds) = table.files(Some(version)).await.step("load the files of a table")?;
        for add in adds {
            files.add(add, table.spec());
        }
        Ok(files)
    }

    /// Takes over one commit; returns the files that it removed, as far as they were known.
    pub fn apply(&mut self, adds: &[Add], removes: &[Remove], spec: &TableSpec) -> Vec<Arc<DataFile>> {
        let removed = removes
            .iter()
            .filter_map(|remove| self.by_path.remove(&remove.path))
            .collect();
        adds.iter().for_each(|add| self.add(add.clone(), spec));
        removed
    }

    fn add(&mut self, add: Add, spec: &TableSpec) {
        self.by_path
            .insert(add.path.clone(), Arc::new(DataFile::new(add, spec)));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.by_path.values()
    }

    pub fn retain(&mut self, mut keeps: impl FnMut(&DataFile) -> bool) {
        self.by_path.retain(|_, file| keeps(file));
    }

    pub fn get(&self, path: &str) -> Option<&Arc<DataFile>> {
        self.by_path.get(path)
    }
}

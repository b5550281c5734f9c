//! The active data files of a table as of one version, followed commit by commit, with what maintenance asks of a file.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::Add;
use ticklake_sql::log::LogEntry;
use ticklake_sql::{Table, log};

use crate::error::Step;
use crate::scan::DataFile;
use crate::{Error, Result};

#[derive(Debug)]
pub struct ActiveFiles {
    table: Table,
    by_path: HashMap<String, Arc<DataFile>>,
    version: u64,
}

impl ActiveFiles {
    /// The files at the newest version.
    pub async fn load(table: &Table) -> Result<Self> {
        let (version, adds) = table.files(None).await.step("load the files of a table")?;
        let file = |add: Add| (add.path.clone(), Arc::new(DataFile::new(add, table.spec())));
        Ok(Self {
            table: table.clone(),
            by_path: adds.into_iter().map(file).collect(),
            version,
        })
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.by_path.values()
    }

    pub fn get(&self, path: &str) -> Option<&Arc<DataFile>> {
        self.by_path.get(path)
    }

    /// Takes in what was committed since.
    pub async fn follow(&mut self) -> Result<()> {
        loop {
            match log::read(&self.table, self.version + 1).await {
                Ok(Some(entry)) => self.apply(entry),
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == ticklake_sql::ErrorKind::Data => {
                    *self = Self::load(&self.table).await?;
                    return Ok(());
                }
                Err(source) => return Err(Error::sql("follow the log of a table", source)),
            }
        }
    }

    fn apply(&mut self, entry: LogEntry) {
        for remove in &entry.removes {
            self.by_path.remove(&remove.path);
        }
        for add in entry.adds {
            self.by_path
                .insert(add.path.clone(), Arc::new(DataFile::new(add, self.table.spec())));
        }
        self.version = entry.version;
    }
}

pub fn unreadable(table: &Table, source: deltalake::DeltaTableError) -> Error {
    Error::sql(
        "load the files of a table",
        ticklake_sql::Error::Delta {
            what: "cannot read the snapshot",
            table: table.name().clone(),
            source: Box::new(source),
        },
    )
}

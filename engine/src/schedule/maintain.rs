//! The maintenance jobs over every table of the lake. One table's trouble is told at the end and never keeps the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use ticklake_sql::error::chain;
use ticklake_sql::{ErrorKind, Lake, Table, TableName};

use super::outcome::Ran;
use crate::error::Step;
use crate::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use crate::{Error, Result};

/// How long each table keeps its rows; a table that is not named keeps them for ever.
pub type Keep = BTreeMap<TableName, Duration>;

#[derive(Debug, Clone)]
pub enum Maintain {
    Optimize(OptimizeOptions),
    Vacuum(VacuumOptions),
    Retention(Keep),
}

impl Maintain {
    pub(super) async fn run(&self, lake: &Lake) -> Result<Ran> {
        let tables = lake.tables().await.step("list the tables of the lake")?;
        let mut first_error: Option<Error> = None;
        let mut ran = Ran::default();
        for table in &tables {
            if let Err(error) = self.one(table, &tables, &mut ran).await {
                // Another process does it now.
                if error.kind() == ErrorKind::Lease {
                    return Err(error);
                }
                tracing::warn!(table = %table.name(), error = chain(&error), "maintenance of a table failed, going on with the others");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(ran), Err)
    }

    async fn one(&self, table: &Table, tables: &[Table], ran: &mut Ran) -> Result<()> {
        match self {
            Self::Optimize(options) => ran.optimized(&optimize(table, options).await?),
            Self::Vacuum(options) => ran.vacuumed(&vacuum(table, tables, options).await?),
            Self::Retention(keep) => {
                if let Some(keep) = keep.get(table.name()) {
                    let options = RetentionOptions {
                        keep: *keep,
                        dry_run: false,
                    };
                    ran.retained(&retain(table, tables, options).await?);
                }
            }
        }
        Ok(())
    }
}

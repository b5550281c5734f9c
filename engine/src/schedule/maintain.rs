//! The maintenance jobs over every table of the lake. One table's trouble is told at the end and never keeps the others waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use ticklake_sql::{Lake, Table, TableName};

use crate::error::Step;
use crate::maintenance::{OptimizeOptions, RetentionOptions, VacuumOptions, optimize, retain, vacuum};
use crate::status::chain;
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
    pub(super) async fn run(&self, lake: &Lake) -> Result<()> {
        let tables = lake.tables().await.step("list the tables of the lake")?;
        let mut first_error: Option<Error> = None;
        for table in &tables {
            if let Err(error) = self.one(table, &tables).await {
                tracing::warn!(table = %table.name(), error = chain(&error), "maintenance of a table failed, going on with the others");
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn one(&self, table: &Table, tables: &[Table]) -> Result<()> {
        match self {
            Self::Optimize(options) => optimize(table, options).await.map(drop),
            Self::Vacuum(options) => vacuum(table, tables, options).await.map(drop),
            Self::Retention(keep) => match keep.get(table.name()) {
                Some(keep) => {
                    let options = RetentionOptions {
                        keep: *keep,
                        dry_run: false,
                    };
                    retain(table, tables, options).await.map(drop)
                }
                None => Ok(()),
            },
        }
    }
}

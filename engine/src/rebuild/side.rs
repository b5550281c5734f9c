//! A result that lies beside its table since an earlier rebuild, and what it was made from: what a later swap goes by.

use std::sync::Arc;

use deltalake::kernel::Add;
use ticklake_sql::{ErrorKind, Lake, Table, TableName, log};

use super::diff::{Diff, diff};
use super::range::RebuildRange;
use super::stood::Stood;
use crate::error::Step;
use crate::scan::DataFile;
use crate::{Error, Result};

/// Keys of commitInfo of the commit that laid the result.
pub(super) const FROM: &str = "from";
pub(super) const UNTIL: &str = "until";
pub(super) const SYMBOLS: &str = "symbols";
pub(super) const MADE_FROM: &str = "madeFrom";
/// Key of commitInfo of the commit that swapped it in.
pub(crate) const REBUILD: &str = "rebuild";

#[derive(Debug)]
pub struct Side {
    pub id: String,
    pub table: Table,
    pub files: Vec<Arc<DataFile>>,
    pub range: RebuildRange,
    /// Version of the table that it lies beside.
    made_from: u64,
}

impl Side {
    /// `None`: nothing with this id lies beside `of`.
    pub async fn find(lake: &Lake, of: &TableName, id: &str) -> Result<Option<Self>> {
        let step = "open the table of a rebuild";
        let Some(table) = lake.find_table(&of.rebuilt(id)).await.step(step)? else {
            return Ok(None);
        };
        let (version, adds) = table.files(None).await.step(step)?;
        let entry = log::read(&table, version).await.step(step)?;
        let info = |key: &str| entry.as_ref().and_then(|entry| entry.info_value(key)).cloned();
        let number = |key: &str| info(key).and_then(|value| value.as_i64());
        let (Some(from_us), Some(until_us), Some(made_from)) = (number(FROM), number(UNTIL), number(MADE_FROM)) else {
            return Err(Error::Invalid(format!(
                "{} does not say what it was made from: it was cut short, or made by an older version; run the rebuild again",
                table.name()
            )));
        };
        let symbols = info(SYMBOLS)
            .and_then(|symbols| serde_json::from_value(symbols).ok())
            .flatten();
        Ok(Some(Self {
            id: id.to_owned(),
            files: adds
                .into_iter()
                .map(|add| Arc::new(DataFile::new(add, table.spec())))
                .collect(),
            range: RebuildRange {
                from_us,
                until_us,
                symbols,
            },
            made_from: u64::try_from(made_from).unwrap_or(0),
            table,
        }))
    }

    /// The version of `of` that an earlier swap of it has made, whose process died before it could remove the result.
    pub async fn swapped(&self, of: &Table) -> Result<Option<u64>> {
        let newest = of
            .latest_version(None)
            .await
            .step("find the newest version of a table")?;
        for version in (self.made_from + 1..=newest).rev() {
            let entry = match log::read(of, version).await {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::Data => break,
                Err(error) => return Err(Error::sql("read what others have committed", error)),
            };
            if entry.info_value(REBUILD).and_then(|id| id.as_str()) == Some(&self.id) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Refuses where a commit of `of` up to version `to` has changed rows that may lie in the range.
    pub async fn check_unchanged(&self, of: &Table, to: u64) -> Result<()> {
        let has_changed = match Stood::load(of, self.made_from, &self.range).await {
            Ok(mut stood) => stood.has_changed(of, to, &self.range).await,
            Err(error) => Err(error),
        };
        match has_changed {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Changed(of.name().clone())),
            Err(error) if error.kind() == ErrorKind::Data => Err(Error::Changed(of.name().clone())),
            Err(error) => Err(error),
        }
    }

    /// Refuses where the range comes out otherwise now: what was looked at is what is swapped in, or nothing is.
    pub async fn check_same(&self, of: &Table, result: &[Add]) -> Result<()> {
        let now: Vec<Arc<DataFile>> = result
            .iter()
            .map(|add| Arc::new(DataFile::new(add.clone(), of.spec())))
            .collect();
        let Diff {
            added,
            removed,
            changed,
            ..
        } = diff((&self.table, &self.files), (of, &now), &self.range).await?;
        match added + removed + changed {
            0 => Ok(()),
            others => Err(Error::Invalid(format!(
                "{} differs in {others} rows from what the range comes to now: rules or settings have changed since, and nothing was swapped in; run the rebuild again",
                self.table.name()
            ))),
        }
    }
}

//! The result of a rebuild as a table of its own, `<table>__rebuild_<id>`, which anybody can read before it is swapped in.
//!
//! Its files are copies: the rebuild's own lie in the table's folder already and wait for the one commit that swaps them in. A rebuild that was killed
//! leaves copies, and files without a commit, that no query sees; the next one removes the copies when they are a day old, vacuum the files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use deltalake::kernel::Add;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Map, json};
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn};
use ticklake_sql::{Lake, Table, TableName, app_ids, log};

use super::diff::{Diff, diff};
use super::range::RebuildRange;
use super::side::{FROM, MADE_FROM, SYMBOLS, Side, UNTIL};
use crate::error::Step;
use crate::scan::DataFile;
use crate::{Error, RefreshReport, Result};

/// A result that nobody has swapped in for so long is left over.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// What becomes of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It is swapped in, and the table beside is removed.
    In,
    /// It stays beside, to be looked at.
    No,
}

/// How a rebuild beside its table went.
#[derive(Debug)]
pub struct Beside {
    pub table: TableName,
    /// Where the result is; `None` where it was removed again.
    pub kept: Option<TableName>,
    pub diff: Diff,
    /// Of the swap.
    pub swapped: Option<RefreshReport>,
}

impl Beside {
    /// An earlier swap of the same result has landed.
    pub(crate) fn landed(table: TableName, version: u64) -> Self {
        let mut report = RefreshReport::new(table.clone());
        report.version = Some(version);
        Self::swapped(table, Diff::default(), report)
    }

    /// There is no input to rebuild from.
    pub(super) fn nothing(table: TableName) -> Self {
        Self {
            table,
            kept: None,
            diff: Diff::default(),
            swapped: None,
        }
    }

    pub(crate) fn kept(beside: &TableName, diff: Diff) -> Self {
        Self {
            table: beside.of_rebuilt().map_or_else(|| beside.clone(), |(of, _)| of),
            kept: Some(beside.clone()),
            diff,
            swapped: None,
        }
    }

    pub(crate) fn swapped(table: TableName, diff: Diff, report: RefreshReport) -> Self {
        Self {
            table,
            kept: None,
            diff,
            swapped: Some(report),
        }
    }
}

/// Puts `files` of `of` into a table beside it and compares: `before` are the files of `of` as they stand at version `made_from`.
pub(crate) async fn lay(
    of: &Table,
    id: &str,
    files: &[Add],
    before: &[Arc<DataFile>],
    range: &RebuildRange,
    made_from: u64,
) -> Result<(Table, Diff)> {
    let beside = of
        .lake()
        .create_rebuilt(of, id)
        .await
        .step("create the table of a rebuild")?;
    copy(of, &beside, files).await?;
    let mut adds = files.to_vec();
    adds.iter_mut().for_each(|add| add.data_change = true);
    let commit = Commit {
        operation: "REBUILD".into(),
        info: Map::from_iter([
            ("of".to_owned(), json!(of.name().to_string())),
            (FROM.to_owned(), json!(range.from_us)),
            (UNTIL.to_owned(), json!(range.until_us)),
            (SYMBOLS.to_owned(), json!(range.symbols)),
            (MADE_FROM.to_owned(), json!(made_from)),
        ]),
        txns: vec![Txn {
            app_id: app_ids::writer(beside.name()),
            version: 1,
        }],
        adds: adds.clone(),
        ..Commit::default()
    };
    let mut committer = Committer::open(&beside).await.step("open the table of a rebuild")?;
    if !matches!(
        committer.commit(commit).await.step("commit the result of a rebuild")?,
        Outcome::Committed { .. }
    ) {
        return Err(Error::Internal(format!("another rebuild writes to {}", beside.name())));
    }
    let after: Vec<Arc<DataFile>> = adds
        .into_iter()
        .map(|add| Arc::new(DataFile::new(add, beside.spec())))
        .collect();
    let diff = diff((of, before), (&beside, &after), range).await?;
    Ok((beside, diff))
}

async fn copy(of: &Table, beside: &Table, files: &[Add]) -> Result<()> {
    let store = of.lake().object_store();
    let at = |table: &Table, add: &Add| {
        let file = Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str()));
        let folder = table.name().path();
        let parts = folder.split('/').fold(Path::default(), |path, part| path.join(part));
        file.parts().fold(parts, |path, part| path.join(part))
    };
    for add in files {
        let copied = store.copy(&at(of, add), &at(beside, add)).await;
        copied.map_err(|source| Error::Read {
            table: of.name().clone(),
            path: add.path.clone(),
            source: Box::new(source),
        })?;
    }
    Ok(())
}

/// Results that lie beside their tables. Some stores list the folder of one that was removed for a while.
async fn results(lake: &Lake) -> Result<Vec<TableName>> {
    let step = "look for results of rebuilds";
    let mut found = Vec::new();
    for name in lake.rebuilt_tables().await.step(step)? {
        if lake.find_table(&name).await.step(step)?.is_some() {
            found.push(name);
        }
    }
    Ok(found)
}

/// Tables beside which a result with this id lies.
pub async fn beside_of(lake: &Lake, id: &str) -> Result<Vec<TableName>> {
    let of = |name: &TableName| name.of_rebuilt().filter(|(_, other)| *other == id).map(|(of, _)| of);
    Ok(results(lake).await?.iter().filter_map(of).collect())
}

/// Of every result that lies beside its table, each once.
pub async fn ids(lake: &Lake) -> Result<Vec<String>> {
    let ids: BTreeSet<String> = results(lake)
        .await?
        .iter()
        .filter_map(|name| name.of_rebuilt().map(|(_, id)| id.to_owned()))
        .collect();
    Ok(ids.into_iter().collect())
}

/// What the result with this id beside `of` holds; `None` where there is none.
pub async fn range_of(lake: &Lake, of: &TableName, id: &str) -> Result<Option<RebuildRange>> {
    Ok(Side::find(lake, of, id).await?.map(|side| side.range))
}

/// Removes results that nobody has swapped in for a day; returns them.
pub async fn clean(lake: &Lake) -> Result<Vec<TableName>> {
    let mut cleaned = Vec::new();
    for name in lake.rebuilt_tables().await.step("look for results of rebuilds")? {
        if is_left_over(lake, &name).await? {
            lake.drop_rebuilt(&name).await.step("remove the result of a rebuild")?;
            cleaned.push(name);
        }
    }
    Ok(cleaned)
}

/// What a kill left without a log is left over too.
async fn is_left_over(lake: &Lake, name: &TableName) -> Result<bool> {
    let Some(table) = lake.find_table(name).await.step("open the table of a rebuild")? else {
        return Ok(true);
    };
    let version = table.latest_version(None).await.step("open the table of a rebuild")?;
    let entry = log::read(&table, version).await.step("open the table of a rebuild")?;
    let at_ms = entry.and_then(|entry| entry.info).and_then(|info| info.timestamp);
    let age_ms = lake.clock().now().timestamp_millis().saturating_sub(at_ms.unwrap_or(0));
    Ok(age_ms >= i64::try_from(LEFT_OVER_AFTER.as_millis()).unwrap_or(i64::MAX))
}

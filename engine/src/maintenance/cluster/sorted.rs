//! Files whose rows are in another order than the table's, each put in order by itself: what a writer of another kind, or an older version, has left.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::{Map, json};
use ticklake_sql::{Table, failpoint};

use super::ClusterReport;
use crate::maintenance::OptimizeOptions;
use crate::maintenance::active::ActiveFiles;
use crate::maintenance::optimize::order::{Keys, RowOrder};
use crate::maintenance::optimize::plan::{Bin, Partition, size};
use crate::maintenance::optimize::rewrite::{Rewritten, fetch, rewrite};
use crate::maintenance::optimize::source::{BATCH_ROWS, FileRows};
use crate::maintenance::replace::{Change, Replacer};
use crate::scan::DataFile;
use crate::{Error, Result};

/// Files of one commit at most: what a kill makes undone.
const COMMIT_FILES: usize = 8;

/// Looks into every file and rewrites those out of order, a commit for a few files of one partition. One that another writer takes out meanwhile is left
/// to that writer.
pub async fn put_in_order(table: &Table, options: &OptimizeOptions, report: &mut ClusterReport) -> Result<()> {
    let files = ActiveFiles::load(table).await?;
    let planned_at = files.version();
    let unsorted = unsorted(table, &files, options).await?;
    let mut of_partition: BTreeMap<Partition, Vec<Bin>> = BTreeMap::new();
    for file in unsorted {
        let partition: Partition = file.add.partition_values.clone().into_iter().collect();
        of_partition.entry(partition.clone()).or_default().push(Bin {
            partition,
            files: vec![file],
        });
    }
    if options.dry_run {
        for file in of_partition.values().flatten().flat_map(|bin| &bin.files) {
            report.files_removed += 1;
            report.files_added += 1;
            report.bytes_removed += size(file);
            report.rows += file.rows.unwrap_or(0);
        }
        return Ok(());
    }
    let mut replacer = Replacer::open(table).await?;
    for bins in of_partition.values().flat_map(|bins| bins.chunks(COMMIT_FILES)) {
        let writes: Vec<_> = bins.iter().map(|bin| rewrite(table, bin, options).boxed()).collect();
        let written: Vec<Rewritten> = stream::iter(writes)
            .buffered(options.merges_at_once.max(1))
            .try_collect()
            .await?;
        failpoint::reach("cluster-files-written");
        let changes: Vec<Change> = written.iter().map(|written| written.change.clone()).collect();
        let info = Map::from_iter([("filesPutInOrder".to_owned(), json!(changes.len()))]);
        let replaced = replacer.commit(planned_at, &changes, "CLUSTER", info, &[]).await?;
        failpoint::reach("cluster-committed");
        report.commits += u64::from(replaced.version.is_some());
        report.version = replaced.version.or(report.version);
        for ((bin, written), landed) in bins.iter().zip(written).zip(replaced.landed) {
            if !landed {
                report.lost += 1;
                continue;
            }
            report.files_removed += 1;
            report.files_added += written.change.adds.len() as u64;
            report.bytes_removed += bin.bytes();
            report.bytes_added += written.bytes;
            report.rows += written.checksum.rows;
            report.checksum = report.checksum.wrapping_add(written.checksum.sum);
        }
    }
    Ok(())
}

async fn unsorted(table: &Table, files: &ActiveFiles, options: &OptimizeOptions) -> Result<Vec<Arc<DataFile>>> {
    let looks: Vec<_> = files
        .iter()
        .filter(|file| file.add.deletion_vector.is_none())
        .map(|file| look(table.clone(), file.clone()).boxed())
        .collect();
    let looked: Vec<Option<Arc<DataFile>>> = stream::iter(looks)
        .buffered(options.merges_at_once.max(1))
        .try_collect()
        .await?;
    Ok(looked.into_iter().flatten().collect())
}

/// The file, where it is out of order.
async fn look(table: Table, file: Arc<DataFile>) -> Result<Option<Arc<DataFile>>> {
    let bytes = fetch(&table, &file).await?;
    let looked = tokio::task::spawn_blocking(move || {
        is_in_order(&table, &file.add.path, bytes, &file.add.partition_values)
            .map(|is_in_order| (!is_in_order).then_some(file))
    });
    looked
        .await
        .map_err(|error| Error::Internal(format!("a look into a file ended early: {error}")))?
}

fn is_in_order(table: &Table, path: &str, bytes: Bytes, values: &HashMap<String, Option<String>>) -> Result<bool> {
    let schema = RowOrder::key_schema(table.spec());
    if schema.fields().is_empty() {
        return Ok(true);
    }
    let order = RowOrder::over(table.spec(), &schema);
    let mut rows = FileRows::open(table.name(), path, bytes, &schema, values, BATCH_ROWS)?;
    let mut before: Option<(Keys, usize)> = None;
    while let Some(batch) = rows.next()? {
        let keys = order.keys(&batch)?;
        let follows = before
            .as_ref()
            .is_none_or(|(before, last)| before.compare(*last, &keys, 0).is_le());
        if !follows || !keys.is_sorted(batch.num_rows()) {
            return Ok(false);
        }
        before = Some((keys, batch.num_rows().saturating_sub(1)));
    }
    Ok(true)
}

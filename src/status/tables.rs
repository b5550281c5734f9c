//! What each table's own log says: version, age of the newest commit, size, and the positions recorded in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ticklake_sql::{Lake, Table, TableName, app_ids};

pub struct TableState {
    pub name: TableName,
    pub version: u64,
    pub committed_us: Option<i64>,
    pub files: u64,
    pub bytes: u64,
    pub rows: Option<u64>,
    /// App id -> recorded version, as in the log.
    pub positions: BTreeMap<String, i64>,
}

pub async fn gather(lake: &Lake) -> anyhow::Result<Vec<TableState>> {
    let mut states = Vec::new();
    for table in lake.tables().await? {
        states.push(state(&table).await?);
    }
    Ok(states)
}

async fn state(table: &Table) -> anyhow::Result<TableState> {
    let (version, positions) = table.positions().await?;
    let committed_us = ticklake_sql::log::read(table, version)
        .await?
        .and_then(|entry| entry.info)
        .and_then(|info| info.timestamp);
    let delta = table.load(Some(version)).await?;
    let (mut files, mut bytes, mut rows) = (0, 0, Some(0));
    for file in delta.snapshot()?.log_data() {
        files += 1;
        bytes += u64::try_from(file.size()).unwrap_or_default();
        rows = rows.zip(file.num_records()).map(|(sum, more)| sum + more as u64);
    }
    Ok(TableState {
        name: table.name().clone(),
        version,
        committed_us: committed_us.map(|millis| millis * 1_000),
        files,
        bytes,
        rows,
        positions: positions.into_iter().collect(),
    })
}

impl TableState {
    /// Partition -> next offset of the newest topic that was recorded under this name.
    pub fn kafka_positions(&self, topic: &str) -> BTreeMap<i32, i64> {
        let names = app_ids::kafka_topic_prefix(&self.name);
        let known = self.positions.iter().filter_map(|(app_id, generation)| {
            let (cluster, rest) = app_id.strip_prefix(&names)?.split_once('/')?;
            let (name, id) = rest.rsplit_once('/')?;
            (name == topic).then_some((generation, cluster, id))
        });
        let Some((_, cluster, id)) = known.max() else {
            return BTreeMap::new();
        };
        let prefix = format!("{}{cluster}/{id}/", app_ids::kafka_prefix(&self.name));
        let partition =
            |(app_id, offset): (&String, &i64)| Some((app_id.strip_prefix(&prefix)?.parse().ok()?, *offset));
        self.positions.iter().filter_map(partition).collect()
    }

    /// The version of `input` that this derived table has read.
    pub fn read_version(&self, input: &TableName) -> Option<i64> {
        self.positions.get(&app_ids::input(&self.name, input)).copied()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "table": self.name.to_string(),
            "version": self.version,
            "committed_us": self.committed_us,
            "files": self.files,
            "bytes": self.bytes,
            "rows": self.rows,
            "positions": self.positions,
        })
    }
}

//! The active data files of a table as of one version, followed commit by commit.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::{Add, Remove};
use ticklake_sql::Table;
use ticklake_sql::ddl::TableSpec;

use crate::Result;
use crate::error::Step;
use crate::scan::DataFile;

/// Files by partition, so that a stretch of time costs what its days hold and not what the lake holds.
#[derive(Debug, Default)]
pub struct Files {
    partitions: HashMap<Box<str>, Partition>,
    /// Those with rows that amend others, by path: few, and of any day.
    amending: HashMap<String, Arc<DataFile>>,
}

/// One folder of the table.
#[derive(Debug)]
struct Partition {
    /// Around the event times of every file that was ever in it, microseconds, both ends inclusive.
    first_us: i64,
    last_us: i64,
    by_path: HashMap<String, Arc<DataFile>>,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            first_us: i64::MAX,
            last_us: i64::MIN,
            by_path: HashMap::new(),
        }
    }
}

impl Files {
    /// The files at `version`.
    pub async fn load(table: &Table, version: u64) -> Result<Self> {
        let (_, adds) = table.files(Some(version)).await.step("load the files of a table")?;
        Ok(Self::of(adds, table.spec()))
    }

    pub fn of(adds: Vec<Add>, spec: &TableSpec) -> Self {
        let mut files = Self::default();
        adds.into_iter().for_each(|add| files.add(add, spec));
        files
    }

    /// Takes over one commit; returns the files that it removed, as far as they were known.
    pub fn apply(&mut self, adds: &[Add], removes: &[Remove], spec: &TableSpec) -> Vec<Arc<DataFile>> {
        let removed = removes.iter().filter_map(|remove| self.remove(&remove.path)).collect();
        adds.iter().for_each(|add| self.add(add.clone(), spec));
        removed
    }

    fn add(&mut self, add: Add, spec: &TableSpec) {
        let (path, file) = (add.path.clone(), Arc::new(DataFile::new(add, spec)));
        if file.may_amend {
            self.amending.insert(path.clone(), file.clone());
        }
        let partition = self.partitions.entry(folder(&path).into()).or_default();
        let (first_us, last_us) = file.micros("ts");
        partition.first_us = partition.first_us.min(first_us);
        partition.last_us = partition.last_us.max(last_us);
        partition.by_path.insert(path, file);
    }

    fn remove(&mut self, path: &str) -> Option<Arc<DataFile>> {
        self.amending.remove(path);
        let partition = self.partitions.get_mut(folder(path))?;
        let removed = partition.by_path.remove(path);
        if partition.by_path.is_empty() {
            self.partitions.remove(folder(path));
        }
        removed
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.partitions
            .values()
            .flat_map(|partition| partition.by_path.values())
    }

    /// The files that may hold a `ts` from `from_us` on and before `until_us`; all of them where they have no such column.
    pub fn between(&self, from_us: i64, until_us: i64) -> impl Iterator<Item = &Arc<DataFile>> {
        self.partitions
            .values()
            .filter(move |partition| partition.first_us < until_us && from_us <= partition.last_us)
            .flat_map(|partition| partition.by_path.values())
            .filter(move |file| {
                let (first_us, last_us) = file.micros("ts");
                first_us < until_us && from_us <= last_us
            })
    }

    /// The files that may hold rows which amend others.
    pub fn amending(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.amending.values()
    }

    pub fn retain(&mut self, mut keeps: impl FnMut(&DataFile) -> bool) {
        self.amending.retain(|_, file| keeps(file));
        for partition in self.partitions.values_mut() {
            partition.by_path.retain(|_, file| keeps(file));
        }
    }

    pub fn get(&self, path: &str) -> Option<&Arc<DataFile>> {
        self.partitions.get(folder(path))?.by_path.get(path)
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use ticklake_sql::{TableName, tables};

    use super::*;

    fn add(path: &str, from: &str, to: &str) -> Add {
        let stats = json!({"numRecords": 1, "minValues": {"ts": from, "kind": "trade"}, "maxValues": {"ts": to, "kind": "trade"}});
        Add {
            path: path.into(),
            stats: Some(stats.to_string()),
            ..Add::default()
        }
    }

    #[test]
    fn a_stretch_of_time_finds_the_files_of_its_days() {
        let spec = tables::spec(&TableName::silver_trades()).unwrap();
        let mut files = Files::default();
        let adds = [
            add(
                "date=2026-01-01/a",
                "2026-01-01T10:00:00.000000Z",
                "2026-01-01T11:00:00.000000Z",
            ),
            add(
                "date=2026-01-01/b",
                "2026-01-01T12:00:00.000000Z",
                "2026-01-01T13:00:00.000000Z",
            ),
            add(
                "date=2026-01-02/c",
                "2026-01-02T10:00:00.000000Z",
                "2026-01-02T11:00:00.000000Z",
            ),
        ];
        files.apply(&adds, &[], &spec);
        let micros = |text: &str| {
            text.parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap()
                .timestamp_micros()
        };
        let between = |files: &Files, from: &str, until: &str| {
            let found = files.between(micros(from), micros(until));
            let mut found: Vec<String> = found.map(|file| file.add.path.clone()).collect();
            found.sort();
            found
        };
        let (day, next) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert_eq!(between(&files, day, next), ["date=2026-01-01/a", "date=2026-01-01/b"]);
        assert_eq!(
            between(&files, "2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"),
            ["date=2026-01-01/a"]
        );
        assert_eq!(
            between(&files, next, "2026-01-02T10:00:00.000001Z"),
            ["date=2026-01-02/c"]
        );
        let remove = ticklake_sql::commit::removal(&adds[0], chrono::DateTime::UNIX_EPOCH, true);
        assert_eq!(files.apply(&[], &[remove], &spec).len(), 1);
        assert_eq!(between(&files, day, next), ["date=2026-01-01/b"]);
        assert!(files.get("date=2026-01-01/a").is_none() && files.iter().count() == 2);
    }
}

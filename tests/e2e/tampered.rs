//! What a lake holds changed behind its back, through the table layer: rows, files and statistics, for tests that must see it or start from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::DataType;
use deltalake::kernel::Add;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::ObjectStoreExt;
use serde_json::Value;
use ticklake_sql::commit::{Commit, Committer, Outcome, Txn, removal};
use ticklake_sql::data_file::{self, FileOptions};
use ticklake_sql::{Clock, Lake, Table, TableName};

use crate::made::{Place, TRADES, trade};

/// A lake that somebody tampers with.
pub struct Tampered {
    lake: Lake,
    runtime: tokio::runtime::Runtime,
}

impl Tampered {
    pub fn at(place: &Place) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            lake: place.lake(),
            runtime,
        }
    }

    pub fn table(&self, name: &TableName) -> Table {
        self.runtime.block_on(self.lake.table(name)).unwrap()
    }

    pub fn adds(&self, table: &Table) -> Vec<Add> {
        let loaded = self.runtime.block_on(table.load(None)).unwrap();
        #[allow(deprecated)]
        let mut adds: Vec<Add> = loaded
            .snapshot()
            .unwrap()
            .log_data()
            .iter()
            .map(|file| file.add_action())
            .collect();
        adds.sort_by_key(|add| add.modification_time);
        adds
    }

    pub fn rows(&self, table: &Table, add: &Add) -> RecordBatch {
        let store = table.log_store().object_store(None);
        let path = object_store::path::Path::parse(&add.path).unwrap();
        let bytes = self
            .runtime
            .block_on(async { store.get(&path).await.unwrap().bytes().await.unwrap() });
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// One commit that nobody who reads rows would take for a change.
    pub fn commit(&self, table: &Table, adds: Vec<Add>, removes: &[Add]) {
        self.runtime.block_on(async {
            let mut committer = Committer::open(table).await.unwrap();
            let app_id = format!("ticklake/{}/writer", table.name());
            let version = committer.positions().get(&app_id).copied().unwrap_or(0) + 1;
            let now = Clock::system().now();
            let commit = Commit {
                operation: "DAMAGE".into(),
                txns: vec![Txn { app_id, version }],
                adds: adds
                    .into_iter()
                    .map(|add| Add {
                        data_change: false,
                        ..add
                    })
                    .collect(),
                removes: removes.iter().map(|add| removal(add, now, false)).collect(),
                ..Commit::default()
            };
            let outcome = committer.commit(commit).await.unwrap();
            assert!(matches!(outcome, Outcome::Committed { .. }));
        });
    }

    /// Puts `rows` in the place of a file.
    pub fn replace(&self, table: &Table, add: &Add, rows: RecordBatch) {
        let partition: BTreeMap<String, String> = add
            .partition_values
            .iter()
            .map(|(column, value)| (column.clone(), value.clone().unwrap()))
            .collect();
        let written = data_file::write(table, partition, vec![rows], FileOptions::default());
        let mut written = self.runtime.block_on(written).unwrap();
        written.tags = add.tags.clone();
        self.commit(table, vec![written], std::slice::from_ref(add));
    }

    /// Gives the record that was no JSON a payload that is: what a release that decodes more would find.
    pub fn mend_a_dead_letter(&self) {
        let table = self.table(&TableName::bronze_dead_letters());
        for add in self.adds(&table) {
            let rows = self.rows(&table, &add);
            let position = rows.schema().index_of("payload").unwrap();
            let payloads = arrow::compute::cast(rows.column(position), &DataType::Binary).unwrap();
            let payloads = payloads.as_binary::<i32>();
            let is_broken = |row: usize| payloads.is_valid(row) && payloads.value(row) == b"no json";
            if !(0..rows.num_rows()).any(is_broken) {
                continue;
            }
            let mended = trade(TRADES + 5, "100.5");
            let payload = |row: usize| {
                let kept = payloads.is_valid(row).then(|| payloads.value(row));
                if is_broken(row) { Some(mended.as_bytes()) } else { kept }
            };
            let payloads: BinaryArray = (0..rows.num_rows()).map(payload).collect();
            let mut columns = rows.columns().to_vec();
            columns[position] = Arc::new(payloads);
            let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
            return self.replace(&table, &add, rows);
        }
        panic!("the lake holds no dead letter that is no JSON");
    }
}

/// A copy of a lake on local disk, to damage.
pub struct LakeCopy {
    pub folder: tempfile::TempDir,
    tampered: Tampered,
}

impl std::ops::Deref for LakeCopy {
    type Target = Tampered;

    fn deref(&self) -> &Tampered {
        &self.tampered
    }
}

impl LakeCopy {
    pub fn of(lake: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(lake, folder.path());
        let tampered = Tampered::at(&Place::folder(folder.path()));
        Self { folder, tampered }
    }

    pub fn path(&self, table: &Table, add: &Add) -> PathBuf {
        self.folder.path().join(table.name().path()).join(&add.path)
    }

    /// Changes the statistics of a file where the log holds them.
    pub fn forge(&self, table: &Table, add: &Add, forge: impl Fn(&mut Value)) {
        let log = self.folder.path().join(table.name().path()).join("_delta_log");
        for entry in std::fs::read_dir(log).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let line = |line: &str| {
                let mut action: Value = serde_json::from_str(line).unwrap();
                if action["add"]["path"] == add.path.as_str() {
                    let mut stats: Value = serde_json::from_str(action["add"]["stats"].as_str().unwrap()).unwrap();
                    forge(&mut stats);
                    action["add"]["stats"] = stats.to_string().into();
                }
                action.to_string() + "\n"
            };
            std::fs::write(&path, text.lines().map(line).collect::<String>()).unwrap();
        }
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

//! What one table takes on disk: counted in the folder, and held against what its newest version reads.

use std::path::Path;

use serde_json::{Value, json};
use ticklake_sql::Table;

#[derive(Debug, Clone, Default)]
pub struct Stored {
    table: String,
    /// Data files of the newest version: what a query reads.
    live_files: u64,
    live_bytes: u64,
    pub rows: u64,
    /// Data files in the folder, those that newer ones have replaced included.
    data_files: u64,
    pub data_bytes: u64,
    log_entries: u64,
    checkpoints: u64,
    other_log_objects: u64,
    log_bytes: u64,
}

pub async fn of(lake: &Path, table: &Table) -> Stored {
    let mut stored = Stored {
        table: table.name().to_string(),
        ..Stored::default()
    };
    let loaded = table.load(None).await.unwrap();
    for file in loaded.snapshot().unwrap().log_data().iter() {
        stored.live_files += 1;
        stored.live_bytes += file.size() as u64;
        stored.rows += file.num_records().unwrap_or_default() as u64;
    }
    stored.count(&lake.join(table.name().path()));
    stored
}

impl Stored {
    fn count(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.count(&path);
                continue;
            }
            // A file may go while it is counted.
            let Ok(bytes) = path.metadata().map(|file| file.len()) else {
                continue;
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !path.components().any(|part| part.as_os_str() == "_delta_log") {
                self.data_files += 1;
                self.data_bytes += bytes;
                continue;
            }
            self.log_bytes += bytes;
            if name.contains(".checkpoint.") {
                self.checkpoints += 1;
            } else if name.ends_with(".json") {
                self.log_entries += 1;
            } else {
                self.other_log_objects += 1;
            }
        }
    }

    /// Everything but the names times `factor`: what grows evenly, over a longer time.
    pub fn scaled(&self, factor: f64) -> Self {
        let times = |count: u64| (count as f64 * factor).round() as u64;
        Self {
            table: self.table.clone(),
            live_files: times(self.live_files),
            live_bytes: times(self.live_bytes),
            rows: times(self.rows),
            data_files: times(self.data_files),
            data_bytes: times(self.data_bytes),
            log_entries: times(self.log_entries),
            checkpoints: times(self.checkpoints),
            other_log_objects: self.other_log_objects,
            log_bytes: times(self.log_bytes),
        }
    }

    pub fn line(&self) -> Value {
        json!({
            "table": self.table, "rows": self.rows, "live_files": self.live_files, "live_bytes": self.live_bytes, "data_files": self.data_files,
            "data_bytes": self.data_bytes, "log_entries": self.log_entries, "checkpoints": self.checkpoints,
            "other_log_objects": self.other_log_objects, "log_bytes": self.log_bytes,
        })
    }
}

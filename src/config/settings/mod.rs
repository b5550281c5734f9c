//! Every key of the configuration with its default, a file for each part of the program. An empty text means "not set".

mod ingest;
mod jobs;
mod maintenance;
mod server;
mod storage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::units::{Size, Span};

pub use ingest::{FeedSettings, IngestSettings, KafkaSettings};
pub use jobs::{CandlesSettings, JobSettings, ParitySettings, RevisionsSetting, SilverSettings};
pub use maintenance::{OptimizeSettings, RetentionSettings, VacuumSettings};
pub use server::{QuerySettings, ServeSettings};
pub use storage::StorageSettings;

const DAY_S: u64 = 24 * 3_600;
/// What suits the role.
pub const AUTO: &str = "auto";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub lake: LakeSettings,
    pub storage: StorageSettings,
    pub kafka: KafkaSettings,
    pub feed: FeedSettings,
    pub ingest: IngestSettings,
    pub silver: SilverSettings,
    pub jobs: JobSettings,
    pub optimize: OptimizeSettings,
    pub vacuum: VacuumSettings,
    pub retention: RetentionSettings,
    pub parity: ParitySettings,
    pub serve: ServeSettings,
    pub query: QuerySettings,
    pub up: UpSettings,
    pub log: LogSettings,
}

impl Settings {
    /// The lake's address, whichever way it was given.
    pub fn lake_uri(&self) -> String {
        if self.lake.uri.is_empty() {
            format!("{}/lake", self.up.data_dir.trim_end_matches('/'))
        } else {
            self.lake.uri.clone()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeSettings {
    /// A folder, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`; empty: `<up.data_dir>/lake`.
    pub uri: String,
    pub durability: DurabilitySetting,
    /// Small files that a process has lately written or read stay in its memory, so that a refresh of every second fetches none of them again.
    pub recent_files: Size,
    /// Table -> partition columns, separated by commas, of silver.trades and gold.ohlcv_*: `"silver.trades" = "symbol,date"`. Counts where the table
    /// is created or clustered (`ticklake optimize --cluster`), and not before; one that is not named is created by `date` and stays as it is.
    pub partition_columns: BTreeMap<String, String>,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            uri: String::new(),
            durability: DurabilitySetting::Auto,
            recent_files: Size(32 << 20),
            partition_columns: BTreeMap::new(),
        }
    }
}

/// How local writes are made to last: `auto` is `os` in `up` and `sync` in every other role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DurabilitySetting {
    #[default]
    Auto,
    Sync,
    Os,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpSettings {
    pub data_dir: String,
    pub kafka_addr: String,
    /// The embedded broker forgets records of this age once bronze holds them.
    pub kafka_retention: Span,
}

impl Default for UpSettings {
    fn default() -> Self {
        Self {
            data_dir: "./ticklake-data".to_owned(),
            kafka_addr: "127.0.0.1:9092".to_owned(),
            kafka_retention: Span::seconds(600),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A tracing filter, e.g. `info,ticklake_ingest=debug`.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

//! What brings trades in: Kafka, the feed, commits to bronze.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::units::{Size, Span};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port,...`; empty: the embedded broker in `up`, 127.0.0.1:9092 elsewhere.
    pub bootstrap_servers: String,
    pub topic: String,
    /// Partitions of the topic where it has to be created.
    pub partitions: i32,
    pub group: String,
    /// Any librdkafka option, passed on as it stands.
    pub librdkafka: BTreeMap<String, String>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            bootstrap_servers: String::new(),
            topic: "trades".to_owned(),
            partitions: 10,
            group: "ticklake-bronze".to_owned(),
            librdkafka: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// `sim`, `binance` or `replay=FILE`.
    pub name: String,
    /// Empty: what the feed has by default.
    pub symbols: Vec<String>,
    /// Simulated trades a second, 1 to 1,000,000.
    pub rate: u32,
    /// The same seed makes the same simulated market.
    pub seed: u64,
    /// Address of the venue's stream; empty: the venue's own.
    pub url: String,
    /// A replay keeps the recorded distances in time.
    pub real_time: bool,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            name: "sim".to_owned(),
            symbols: Vec::new(),
            rate: 1_000,
            seed: 1,
            url: String::new(),
            real_time: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    /// Static member name of this instance; empty: one instance reads every partition.
    pub instance_id: String,
    /// A commit happens at the first of these three.
    pub commit_rows: u32,
    pub commit_bytes: Size,
    pub commit_age: Span,
    /// `stop`, `earliest`, `latest` or `offset=N`.
    pub on_lost_position: String,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            commit_rows: 1_000_000,
            commit_bytes: Size(256_000_000),
            commit_age: Span::millis(500),
            on_lost_position: "stop".to_owned(),
        }
    }
}

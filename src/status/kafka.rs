//! How far bronze stands behind the end of the Kafka topic, partition by partition.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use ticklake_sql::TableName;

use super::tables::TableState;
use crate::config::Settings;
use crate::data_dir::known_broker;

const TIMEOUT: Duration = Duration::from_secs(5);

pub struct Lag {
    pub brokers: String,
    /// Partition -> (recorded next offset, end offset); or why it is not known.
    pub partitions: Result<BTreeMap<i32, (Option<i64>, i64)>, String>,
}

/// The configured brokers, else those of an `up` that runs on the same data folder.
pub fn brokers(settings: &Settings) -> Option<String> {
    if settings.kafka.bootstrap_servers.is_empty() {
        known_broker(&settings.up.data_dir)
    } else {
        Some(settings.kafka.bootstrap_servers.clone())
    }
}

pub async fn lag(brokers: &str, settings: &Settings, tables: &[TableState]) -> Lag {
    let bronze = tables.iter().find(|table| table.name == TableName::bronze_trades());
    let recorded = bronze
        .map(|table| table.kafka_positions(&settings.kafka.topic))
        .unwrap_or_default();
    let mut config = ClientConfig::new();
    config.extend(
        settings
            .kafka
            .librdkafka
            .iter()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    config.set("bootstrap.servers", brokers);
    let topic = settings.kafka.topic.clone();
    let ends = tokio::task::spawn_blocking(move || end_offsets(&config, &topic)).await;
    let ends = ends.unwrap_or_else(|error| Err(error.to_string()));
    let partitions = ends.map(|ends| {
        ends.into_iter()
            .map(|(partition, end)| (partition, (recorded.get(&partition).copied(), end)))
            .collect()
    });
    Lag {
        brokers: brokers.to_owned(),
        partitions,
    }
}

fn end_offsets(config: &ClientConfig, topic: &str) -> Result<BTreeMap<i32, i64>, String> {
    let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .map_err(|error| error.to_string())?;
    let partitions = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id());
    partitions
        .map(|partition| {
            let (_, end) = consumer
                .fetch_watermarks(topic, partition, TIMEOUT)
                .map_err(|error| error.to_string())?;
            Ok((partition, end))
        })
        .collect()
}

impl Lag {
    /// Records not in bronze yet, holes and markers included.
    pub fn records(&self) -> Option<i64> {
        let partitions = self.partitions.as_ref().ok()?;
        Some(
            partitions
                .values()
                .map(|(recorded, end)| (end - recorded.unwrap_or_default()).max(0))
                .sum(),
        )
    }

    pub fn to_json(&self) -> Value {
        let partition = |(partition, (recorded, end)): (&i32, &(Option<i64>, i64))| json!({ "partition": partition, "next_offset": recorded, "end_offset": end });
        match &self.partitions {
            Ok(partitions) => json!({
                "brokers": self.brokers,
                "lag_records": self.records(),
                "partitions": partitions.iter().map(partition).collect::<Vec<_>>(),
            }),
            Err(error) => json!({ "brokers": self.brokers, "error": error }),
        }
    }
}

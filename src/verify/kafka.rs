//! What Kafka still holds of the topic, and whether it holds a record at an offset that bronze lacks.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context;
use ticklake_engine::verify::{Missing, Report, Topic};
use ticklake_ingest::bronze::records::records_in;
use ticklake_ingest::bronze::topic::TopicClient;
use ticklake_ingest::kafka::KafkaOptions;

use crate::config::Settings;
use crate::options;
use crate::status::brokers;

pub struct Asked {
    kafka: KafkaOptions,
    pub topic: Topic,
}

/// The topic as the configured brokers know it, or those of an `up` on the same folder; `None` where there are none or the topic is gone.
pub async fn topic(settings: &Settings) -> anyhow::Result<Option<Asked>> {
    let Some(brokers) = brokers(settings) else {
        return Ok(None);
    };
    let kafka = KafkaOptions {
        bootstrap_servers: brokers,
        ..options::kafka(settings)
    };
    let (options, name) = (kafka.clone(), settings.kafka.topic.clone());
    let topic = tokio::task::spawn_blocking(move || described(&options, &name)).await??;
    Ok(topic.map(|topic| Asked { kafka, topic }))
}

fn described(kafka: &KafkaOptions, name: &str) -> anyhow::Result<Option<Topic>> {
    let client = TopicClient::new(kafka, name)?;
    let Some(description) = client.describe()? else {
        return Ok(None);
    };
    let mut partitions = BTreeMap::new();
    for partition in 0..description.partitions {
        let range = client.log_range(partition)?;
        partitions.insert(partition, (range.start, range.end));
    }
    Ok(Some(Topic {
        name: name.to_owned(),
        id: description.id.to_string(),
        partitions,
    }))
}

/// Asks about each missing offset that Kafka still holds; the report then knows holes from losses.
pub async fn settle(asked: Option<&Asked>, report: &mut Report) -> anyhow::Result<()> {
    let Some(Asked { kafka, topic }) = asked else {
        report.settle_unasked("Kafka was not asked: name it with --bootstrap-servers to tell holes from losses");
        return Ok(());
    };
    let mut gone = 0;
    let mut by_partition: BTreeMap<i32, Vec<Range<i64>>> = BTreeMap::new();
    for missing in &report.missing {
        let log = topic
            .partitions
            .get(&missing.partition)
            .filter(|_| missing.topic_id == topic.id);
        let start = log.map_or(i64::MAX, |(start, _)| *start);
        let held = missing.from.max(start)..missing.to;
        let here = if held.is_empty() { 0 } else { held.end - held.start };
        gone += missing.to - missing.from - here;
        if !held.is_empty() {
            by_partition.entry(missing.partition).or_default().push(held);
        }
    }
    let mut lost = Vec::new();
    for (partition, ranges) in by_partition {
        let (options, name) = (kafka.clone(), topic.name.clone());
        let ask = move || records_in(&options, &name, partition, &ranges).map_err(anyhow::Error::from);
        let records = tokio::task::spawn_blocking(ask)
            .await?
            .context("cannot ask Kafka about the offsets that bronze lacks")?;
        lost.extend(records.into_iter().map(|records| Missing {
            topic: topic.name.clone(),
            topic_id: topic.id.clone(),
            partition,
            from: records.start,
            to: records.end,
        }));
    }
    if gone > 0 {
        report.notes.push(format!(
            "{gone} offsets without a row are no longer in Kafka: counted as holes, which nobody can prove any more"
        ));
    }
    report.settle(&lost);
    Ok(())
}

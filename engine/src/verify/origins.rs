//! Where records come from: the partitions of each topic by the topic's id, and files. Rows name a topic; a topic made again under its name
//! has another id and starts at offset 0 again, so rows of such a name go by the time of their ingestion.

use std::collections::{BTreeMap, HashMap};

use deltalake::kernel::Add;
use ticklake_sql::app_ids;
use ticklake_sql::offset_ranges::{self, file_topic, is_file_topic};

use super::snapshot::Snapshot;

/// A topic as Kafka knows it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub id: String,
    /// Partition -> first offset that Kafka holds, and the one after the last that a read_committed consumer may see.
    pub partitions: BTreeMap<i32, (i64, i64)>,
}

/// Number of an origin.
pub type Number = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    /// Next offset of the consumer, or the first line that was not read.
    pub position: Option<i64>,
    /// Records that a file has given up to there; `None` where they were not counted.
    pub records: Option<u64>,
}

impl Origin {
    /// A file has no end but its last line, and lines that are no records.
    pub fn is_file(&self) -> bool {
        is_file_topic(&self.topic_id)
    }
}

/// A topic's id, and since when rows of its name are of it (microseconds).
#[derive(Debug, Clone)]
struct Generation {
    topic_id: String,
    since_us: i64,
}

#[derive(Debug, Default)]
pub struct Origins {
    list: Vec<Origin>,
    numbers: HashMap<(String, i32), Number>,
    generations: HashMap<String, Vec<Generation>>,
    positions: HashMap<(String, i32), i64>,
    /// Topic of a file -> its records.
    records: HashMap<String, u64>,
    /// Retention has taken what was ingested before some date.
    cut: bool,
}

impl Origins {
    /// Out of the positions and tags of bronze.trades.
    pub fn of(bronze: &Snapshot) -> Self {
        let name = bronze.table.name();
        let (positions, topics) = (app_ids::kafka_prefix(name), app_ids::kafka_topic_prefix(name));
        let [files, records] = ["file", "file-records"].map(|kind| format!("ticklake/{name}/{kind}/"));
        let mut origins = Self {
            cut: bronze.positions.contains_key(&app_ids::low_water(name)),
            ..Self::default()
        };
        let mut generations: HashMap<String, BTreeMap<i64, String>> = HashMap::new();
        for (app_id, version) in &bronze.positions {
            if let Some((topic_id, partition)) = app_id.strip_prefix(&positions).and_then(last_two) {
                origins.positions.insert((topic_id, partition), *version);
            } else if let Some(digest) = app_id.strip_prefix(&files).and_then(|rest| rest.strip_suffix("/0")) {
                // At 0 stands a file that another content of its name has replaced.
                if *version > 0 {
                    origins.positions.insert((file_topic(digest), 0), *version);
                }
            } else if let Some(digest) = app_id.strip_prefix(&records).and_then(|rest| rest.strip_suffix("/0")) {
                let records = u64::try_from(*version).unwrap_or(0);
                origins.records.insert(file_topic(digest), records);
            } else if let Some((topic, id)) = app_id.strip_prefix(&topics).and_then(|rest| rest.rsplit_once('/')) {
                let topic = topic.split_once('/').map_or(topic, |(_, topic)| topic);
                generations
                    .entry(topic.to_owned())
                    .or_default()
                    .insert(*version, id.to_owned());
            }
        }
        let since = first_ingested(&bronze.adds);
        for (topic, ids) in generations {
            let generation = |(at, topic_id): (usize, String)| Generation {
                since_us: if at == 0 {
                    i64::MIN
                } else {
                    since.get(&topic_id).copied().unwrap_or(i64::MAX)
                },
                topic_id,
            };
            let list = ids.into_values().enumerate().map(generation).collect();
            origins.generations.insert(topic, list);
        }
        let known: Vec<(String, i32)> = origins.positions.keys().cloned().collect();
        for (topic_id, partition) in known {
            let topic = origins
                .generations
                .iter()
                .find(|(_, ids)| ids.iter().any(|generation| generation.topic_id == topic_id))
                .map(|(topic, _)| topic.clone())
                .unwrap_or_else(|| topic_id.clone());
            origins.number(&topic, &topic_id, partition);
        }
        origins
    }

    /// Some name had more than one topic, so that rows need their time to be told apart.
    pub fn need_time(&self) -> bool {
        self.generations.values().any(|ids| ids.len() > 1)
    }

    /// What stands first in bronze is its low-water mark: before it, nothing is missing.
    pub fn are_cut(&self) -> bool {
        self.cut
    }

    /// The origin of a row.
    pub fn find(&mut self, topic: &str, partition: i32, ingested_us: i64) -> Number {
        let topic_id = self
            .generations
            .get(topic)
            .and_then(|ids| ids.iter().rev().find(|generation| generation.since_us <= ingested_us))
            .map_or_else(|| topic.to_owned(), |generation| generation.topic_id.clone());
        self.number(topic, &topic_id, partition)
    }

    /// The origin with this topic id; its name is found among the known ones.
    pub fn of_id(&mut self, topic_id: &str, partition: i32) -> Number {
        let topic = self
            .list
            .iter()
            .find(|origin| origin.topic_id == topic_id)
            .map_or_else(|| topic_id.to_owned(), |origin| origin.topic.clone());
        self.number(&topic, topic_id, partition)
    }

    fn number(&mut self, topic: &str, topic_id: &str, partition: i32) -> Number {
        let key = (topic_id.to_owned(), partition);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.list.len();
        self.list.push(Origin {
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            partition,
            position: self.positions.get(&key).copied(),
            records: self.records.get(topic_id).copied().filter(|_| !self.cut),
        });
        self.numbers.insert(key, number);
        number
    }

    pub fn get(&self, number: Number) -> Option<&Origin> {
        self.list.get(number)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Number, &Origin)> {
        self.list.iter().enumerate()
    }
}

/// Topic id and partition at the end of an app id.
fn last_two(rest: &str) -> Option<(String, i32)> {
    let (rest, partition) = rest.rsplit_once('/')?;
    let topic_id = rest.rsplit_once('/').map_or(rest, |(_, id)| id);
    Some((topic_id.to_owned(), partition.parse().ok()?))
}

/// Topic id -> the least time of ingestion among the files of it alone, microseconds.
fn first_ingested(adds: &[Add]) -> HashMap<String, i64> {
    let mut first: HashMap<String, i64> = HashMap::new();
    for add in adds {
        let Some(ranges) = offset_ranges::read(add) else {
            continue;
        };
        let Some(topic_id) = ranges.first().map(|range| range.topic_id.clone()) else {
            continue;
        };
        if ranges.iter().any(|range| range.topic_id != topic_id) {
            continue;
        }
        let ingested = ingested_us(add).unwrap_or(i64::MAX);
        first
            .entry(topic_id)
            .and_modify(|known| *known = (*known).min(ingested))
            .or_insert(ingested);
    }
    first
}

fn ingested_us(add: &Add) -> Option<i64> {
    let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    let text = stats.get("minValues")?.get("ingested_at")?.as_str()?.to_owned();
    Some(chrono::DateTime::parse_from_rfc3339(&text).ok()?.timestamp_micros())
}

//! What Kafka -> bronze is doing right now, for heartbeats and `ticklake status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::positions::Positions;
use super::topic::{LogRange, TopicIdentity};

/// Counters and positions of one run. Shared; never blocks for long.
#[derive(Debug, Default)]
pub struct BronzeStatus {
    pub(crate) records: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) files: AtomicU64,
    pub(crate) file_bytes: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// Records read that no flush has been closed over yet.
    pub(crate) open_records: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    topic: Option<TopicIdentity>,
    partitions: BTreeMap<i32, Partition>,
    last_commit_us: Option<i64>,
    /// What keeps the run from going on right now.
    trouble: Option<String>,
    last_error: Option<(String, Option<i64>)>,
    clock: Option<ticklake_sql::Clock>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Starting,
    WaitingForTopic,
    Running,
    Draining,
    Ended,
}

#[derive(Debug, Default)]
struct Partition {
    position: Option<i64>,
    log: Option<LogRange>,
    owned: bool,
    stopped: Option<String>,
}

impl BronzeStatus {
    /// Everything, as the heartbeat writes it. Positions are those committed; lag is what the log holds beyond.
    pub fn snapshot(&self) -> Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.state.lock();
        let partitions: Vec<Value> = state
            .partitions
            .iter()
            .map(|(number, partition)| {
                let lag = match (partition.position, partition.log) {
                    (Some(position), Some(log)) => Some((log.end - position).max(0)),
                    _ => None,
                };
                json!({
                    "partition": number,
                    "position": partition.position,
                    "log_start": partition.log.map(|log| log.start),
                    "log_end": partition.log.map(|log| log.end),
                    "lag": lag,
                    "state": match (&partition.stopped, partition.owned) {
                        (Some(_), _) => "stopped",
                        (None, true) => "reading",
                        (None, false) => "elsewhere",
                    },
                    "error": partition.stopped,
                })
            })
            .collect();
        let lag: Option<i64> = partitions.iter().map(|partition| partition["lag"].as_i64()).sum();
        json!({
            "state": match state.phase {
                Phase::Starting => "starting",
                Phase::WaitingForTopic => "waiting for the topic",
                Phase::Running => "running",
                Phase::Draining => "draining",
                Phase::Ended => "ended",
            },
            "topic": state.topic.as_ref().map(|topic| &topic.name),
            "topic_id": state.topic.as_ref().map(|topic| topic.id.to_string()),
            "cluster_id": state.topic.as_ref().map(|topic| &topic.cluster_id),
            "records": count(&self.records),
            "rows": count(&self.rows),
            "dead_letters": count(&self.dead_letters),
            "commits": count(&self.commits),
            "conflicts": count(&self.conflicts),
            "retries": count(&self.retries),
            "open_records": count(&self.open_records),
            "files": count(&self.files),
            "file_bytes": count(&self.file_bytes),
            "lag": lag,
            "last_commit_at_us": state.last_commit_us,
            "trouble": state.trouble,
            "last_error": state.last_error.as_ref().map(|(message, at_us)| json!({"message": message, "at_us": at_us})),
            "partitions": partitions,
        })
    }

    /// Committed position of each partition.
    pub fn positions(&self) -> Positions {
        let state = self.state.lock();
        let known = state.partitions.iter();
        known
            .filter_map(|(number, partition)| Some((*number, partition.position?)))
            .collect()
    }

    /// Messages of the partitions that are stopped.
    pub fn stopped(&self) -> Vec<String> {
        let state = self.state.lock();
        state
            .partitions
            .values()
            .filter_map(|partition| partition.stopped.clone())
            .collect()
    }

    pub(crate) fn begin(&self, clock: &ticklake_sql::Clock) {
        self.state.lock().clock = Some(clock.clone());
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.state.lock().phase = phase;
    }

    pub(crate) fn topic(&self, topic: &TopicIdentity) {
        let mut state = self.state.lock();
        if state.topic.as_ref() != Some(topic) {
            state.topic = Some(topic.clone());
            state.partitions.clear();
        }
    }

    /// `owned` are read here; `stopped` are to be read here and cannot.
    pub(crate) fn assignment(&self, owned: impl Iterator<Item = i32>, stopped: impl Iterator<Item = (i32, String)>) {
        let mut state = self.state.lock();
        for partition in state.partitions.values_mut() {
            partition.owned = false;
            partition.stopped = None;
        }
        for number in owned {
            state.partitions.entry(number).or_default().owned = true;
        }
        for (number, message) in stopped {
            state.partitions.entry(number).or_default().stopped = Some(message);
        }
    }

    pub(crate) fn log(&self, partition: i32, log: LogRange) {
        self.state.lock().partitions.entry(partition).or_default().log = Some(log);
    }

    pub(crate) fn committed(&self, positions: &Positions, at_us: Option<i64>) {
        let mut state = self.state.lock();
        for (number, position) in positions {
            let partition = state.partitions.entry(*number).or_default();
            partition.position = Some(*position);
            if let Some(log) = &mut partition.log {
                log.end = log.end.max(*position);
            }
        }
        if at_us.is_some() {
            state.last_commit_us = at_us;
            state.trouble = None;
        }
    }

    /// Something is being retried; cleared by the next commit or by `recovered`.
    pub(crate) fn trouble(&self, message: &str) {
        let mut state = self.state.lock();
        let at_us = state.clock.as_ref().map(ticklake_sql::Clock::now_us);
        state.trouble = Some(message.to_owned());
        state.last_error = Some((message.to_owned(), at_us));
    }

    pub(crate) fn recovered(&self) {
        self.state.lock().trouble = None;
    }

    /// Went wrong and holds nothing up by itself: the last error of this run.
    pub(crate) fn noted(&self, message: &str) {
        let mut state = self.state.lock();
        let at_us = state.clock.as_ref().map(ticklake_sql::Clock::now_us);
        state.last_error = Some((message.to_owned(), at_us));
    }
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

//! Taking partitions up: ask the cluster and the table, record starts that are new, begin to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use ticklake_sql::error::chain;

use super::super::lost_position::LostPosition;
use super::super::positions::Positions;
use super::super::start::{self, Known, Plan};
use super::super::status::Phase;
use super::super::topic::{LogRange, TopicIdentity};
use super::super::topic_id::TopicDescription;
use super::ask::{Ask, StartOutcome, StartRecord};
use super::backoff::Backoff;
use super::fetch::Fetch;
use super::message::Fetched;
use crate::error::{Error, Result};

/// How often a waiting fetch stage looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(50);

/// Which partitions to take up.
pub enum Wanted {
    /// All that the topic has.
    All,
    These(BTreeSet<i32>),
}

/// What was found out and recorded about partitions to be read.
pub struct Taken {
    pub topic: Arc<TopicIdentity>,
    pub partitions: i32,
    pub starts: Positions,
    pub stopped: Vec<LostPosition>,
    pub logs: BTreeMap<i32, LogRange>,
}

impl Fetch {
    /// `None` where the run is to end before anything is known.
    pub fn take_up(&mut self, wanted: &Wanted) -> Result<Option<Taken>> {
        loop {
            let Some((topic, partitions)) = self.find_topic()? else {
                return Ok(None);
            };
            let Some(recorded) = self.ask(|reply| Ask::Recorded { reply })? else {
                return Ok(None);
            };
            let table = self.shared.trades.name().clone();
            let all = || (0..partitions).collect::<BTreeSet<_>>();
            let read = match wanted {
                Wanted::All => all(),
                Wanted::These(these) => these.clone(),
            };
            let to_look_at = if start::needs_every_log(&table, &topic, &recorded) {
                all()
            } else {
                read.clone()
            };
            let Some(logs) = self.look_at_logs(&to_look_at)? else {
                return Ok(None);
            };
            let known = Known {
                topic: &topic,
                partitions,
                recorded: &recorded,
                logs: &logs,
            };
            let Plan {
                mut starts,
                mut stopped,
                record,
                record_positions,
                choices,
            } = start::plan(&table, &known, self.shared.options.on_lost_position);
            if !record.is_empty() {
                let start = StartRecord {
                    topic: topic.clone(),
                    txns: record,
                    positions: record_positions,
                    choices,
                };
                match self.ask(|reply| Ask::Record { start, reply })? {
                    None => return Ok(None),
                    Some(StartOutcome::Conflict) => continue,
                    Some(StartOutcome::Recorded) => {}
                }
            }
            starts.retain(|partition, _| read.contains(partition));
            stopped.retain(|lost| read.contains(&lost.partition));
            return Ok(Some(Taken {
                topic,
                partitions,
                starts,
                stopped,
                logs,
            }));
        }
    }

    /// Waits for the topic to exist and for the broker to say so.
    fn find_topic(&mut self) -> Result<Option<(Arc<TopicIdentity>, i32)>> {
        let began = Instant::now();
        let mut backoff = Backoff::default();
        let mut said = false;
        loop {
            if self.is_ending() {
                return Ok(None);
            }
            match self.describe() {
                Ok(Some(found)) => {
                    self.shared.status.recovered();
                    return Ok(Some(found));
                }
                Ok(None) if self.shared.options.until_latest && !self.connected => {
                    return Err(Error::Invalid(format!(
                        "topic `{}` does not exist at {}; start `ticklake produce` first, or name another topic",
                        self.shared.options.topic, self.shared.options.kafka.bootstrap_servers
                    )));
                }
                Ok(None) => {
                    self.shared.status.phase(Phase::WaitingForTopic);
                    self.shared
                        .status
                        .trouble(&format!("topic `{}` does not exist", self.shared.options.topic));
                    if !said {
                        tracing::warn!(
                            topic = self.shared.options.topic,
                            "the topic does not exist, waiting for it"
                        );
                        said = true;
                    }
                }
                Err(error) if !self.connected && began.elapsed() >= self.shared.options.connect_timeout => {
                    return Err(error);
                }
                Err(error) => self.shared.status.trouble(&chain(&error)),
            }
            self.pause(backoff.next());
        }
    }

    fn describe(&mut self) -> Result<Option<(Arc<TopicIdentity>, i32)>> {
        let Some(TopicDescription { id, partitions }) = self.shared.topic_client.describe()? else {
            return Ok(None);
        };
        let cluster_id = self.shared.topic_client.cluster_id()?;
        let name = self.shared.options.topic.clone();
        self.connected = true;
        if id.is_zero() {
            tracing::warn!(
                topic = name,
                "the broker gives topics no id: a topic that is deleted and made again passes for the old one"
            );
        }
        Ok(Some((Arc::new(TopicIdentity { cluster_id, name, id }), partitions)))
    }

    /// First and last offset of each partition; keeps asking while the broker is away.
    fn look_at_logs(&mut self, partitions: &BTreeSet<i32>) -> Result<Option<BTreeMap<i32, LogRange>>> {
        let mut logs = BTreeMap::new();
        for &partition in partitions {
            let mut backoff = Backoff::default();
            loop {
                if self.is_ending() {
                    return Ok(None);
                }
                match self.shared.topic_client.log_range(partition) {
                    Ok(log) => {
                        self.shared.status.log(partition, log);
                        logs.insert(partition, log);
                        break;
                    }
                    Err(error) => self.shared.status.trouble(&chain(&error)),
                }
                self.pause(backoff.next());
            }
        }
        Ok(Some(logs))
    }

    /// Asks commit and waits; `None` where the run is abandoned first.
    pub fn ask<T>(&self, question: impl FnOnce(std::sync::mpsc::SyncSender<T>) -> Ask) -> Result<Option<T>> {
        let (reply, answer) = sync_channel(1);
        self.send(Fetched::Ask(question(reply)))?;
        self.wait_for(&answer, None)
    }

    /// `None` where the deadline or the end of the run comes first.
    pub fn wait_for<T>(&self, answer: &Receiver<T>, deadline: Option<Instant>) -> Result<Option<T>> {
        loop {
            match answer.recv_timeout(GLANCE) {
                Ok(answer) => return Ok(Some(answer)),
                Err(RecvTimeoutError::Disconnected) if self.shared.abandon.is_cancelled() => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Internal("the commit stage has ended".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late || self.shared.abandon.is_cancelled() {
                return Ok(None);
            }
        }
    }

    /// Waits, but not past the end of the run.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.is_ending() {
            std::thread::sleep(GLANCE.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

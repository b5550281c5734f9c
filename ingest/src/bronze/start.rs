//! Where each partition starts: the table's recorded positions, held against what the cluster says about the topic.
//!
//! Pure: the caller asks the cluster and the table, and records what the plan says before it reads the first record.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use ticklake_sql::TableName;
use ticklake_sql::commit::Txn;

use super::lost_position::{LostPosition, LostReason};
use super::options::OnLostPosition;
use super::positions::{self, Positions};
use super::topic::{LogRange, TopicIdentity};

/// What is known when partitions are about to be read.
pub struct Known<'a> {
    pub topic: &'a TopicIdentity,
    /// Number of partitions of the topic.
    pub partitions: i32,
    /// All txns of the main table.
    pub recorded: &'a HashMap<String, i64>,
    /// Of every partition at first sight and after a choice; else of those to be read.
    pub logs: &'a BTreeMap<i32, LogRange>,
}

/// What to do before the first read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Partitions that can be read, and from where.
    pub starts: Positions,
    /// Partitions that stay stopped.
    pub stopped: Vec<LostPosition>,
    /// Positions to record in one commit first; empty: none needed.
    pub record: Vec<Txn>,
    /// The same for partitions alone: what the side table must not be ahead of.
    pub record_positions: Positions,
    /// The operator's choices that this commit takes over.
    pub choices: Vec<Value>,
}

/// True where the table has never recorded this topic, or another one under its name: every partition's log range is needed.
pub fn needs_every_log(table: &TableName, topic: &TopicIdentity, recorded: &HashMap<String, i64>) -> bool {
    let newest = positions::newest_topic(table, recorded, &topic.cluster_id, &topic.name);
    newest.is_none_or(|(id, _)| id != topic.id)
}

pub fn plan(table: &TableName, known: &Known<'_>, choice: OnLostPosition) -> Plan {
    let topic = known.topic;
    match positions::newest_topic(table, known.recorded, &topic.cluster_id, &topic.name) {
        None => first_sight(table, known),
        Some((id, _)) if id == topic.id => go_on(table, known, choice),
        Some((id, generation)) => {
            let old = positions::of_topic(table, known.recorded, &topic.cluster_id, &id);
            let lost = known.logs.iter().map(|(&partition, &log)| LostPosition {
                partition,
                old_offset: old.get(&partition).copied(),
                log,
                reason: LostReason::MadeAgain { old: id, new: topic.id },
            });
            let mut plan = settle(table, topic, lost, choice);
            if plan.stopped.is_empty() {
                plan.record.push(positions::topic_txn(table, topic, generation + 1));
            } else {
                // One commit takes over the whole new topic or nothing of it.
                plan = Plan {
                    stopped: plan.stopped,
                    ..Plan::default()
                };
            }
            plan
        }
    }
}

fn first_sight(table: &TableName, known: &Known<'_>) -> Plan {
    let starts: Positions = known
        .logs
        .iter()
        .map(|(partition, log)| (*partition, log.start))
        .collect();
    let mut record = positions::txns(table, known.topic, &starts);
    record.push(positions::topic_txn(table, known.topic, 1));
    Plan {
        record_positions: starts.clone(),
        starts,
        record,
        ..Plan::default()
    }
}

fn go_on(table: &TableName, known: &Known<'_>, choice: OnLostPosition) -> Plan {
    let topic = known.topic;
    let recorded = positions::of_topic(table, known.recorded, &topic.cluster_id, &topic.id);
    let highest = recorded.keys().next_back().copied();
    let new: Positions = match highest {
        Some(highest) => (highest + 1..known.partitions)
            .map(|partition| (partition, 0))
            .collect(),
        None => Positions::new(),
    };
    let mut starts = Positions::new();
    let mut lost = Vec::new();
    for (&partition, &log) in known.logs {
        let position = recorded.get(&partition).or_else(|| new.get(&partition)).copied();
        let reason = match position {
            None => LostReason::NotRecorded,
            Some(offset) if offset < log.start => LostReason::Expired,
            Some(offset) if offset > log.end => LostReason::BeyondEnd,
            Some(offset) => {
                starts.insert(partition, offset);
                continue;
            }
        };
        lost.push(LostPosition {
            partition,
            old_offset: position,
            log,
            reason,
        });
    }
    let mut plan = settle(table, topic, lost.into_iter(), choice);
    plan.starts.append(&mut starts);
    for (partition, offset) in new {
        if !plan.record_positions.contains_key(&partition) {
            plan.record
                .extend(positions::txns(table, topic, &Positions::from([(partition, offset)])));
            plan.record_positions.insert(partition, offset);
        }
    }
    plan
}

/// Applies the operator's choice to each lost partition.
fn settle(
    table: &TableName,
    topic: &TopicIdentity,
    lost: impl Iterator<Item = LostPosition>,
    choice: OnLostPosition,
) -> Plan {
    let mut plan = Plan::default();
    for lost in lost {
        match lost.resolve(choice) {
            Some(offset) => {
                plan.choices.push(lost.commit_info(choice, offset));
                plan.starts.insert(lost.partition, offset);
            }
            None => plan.stopped.push(lost),
        }
    }
    plan.record = positions::txns(table, topic, &plan.starts);
    plan.record_positions = plan.starts.clone();
    plan
}

#[cfg(test)]
mod tests {
    use super::super::topic_id::TopicId;
    use super::*;

    const TABLE: fn() -> TableName = TableName::bronze_trades;

    fn topic(id: i64) -> TopicIdentity {
        TopicIdentity {
            cluster_id: "c".to_owned(),
            name: "trades".to_owned(),
            id: TopicId::from_bits(id, 0),
        }
    }

    fn recorded(id: i64, offsets: &[(i32, i64)]) -> HashMap<String, i64> {
        let mut txns = positions::txns(&TABLE(), &topic(id), &offsets.iter().copied().collect());
        txns.push(positions::topic_txn(&TABLE(), &topic(id), 1));
        txns.into_iter().map(|txn| (txn.app_id, txn.version)).collect()
    }

    fn plan_of(id: i64, recorded: &HashMap<String, i64>, logs: &[(i64, i64)], choice: &str) -> Plan {
        let topic = topic(id);
        let logs = (0..)
            .zip(logs.iter().map(|&(start, end)| LogRange { start, end }))
            .collect();
        let partitions = logs_len(&logs);
        let known = Known {
            topic: &topic,
            partitions,
            recorded,
            logs: &logs,
        };
        plan(&TABLE(), &known, choice.parse().unwrap())
    }

    fn logs_len(logs: &BTreeMap<i32, LogRange>) -> i32 {
        i32::try_from(logs.len()).unwrap()
    }

    #[test]
    fn first_sight_records_every_start_and_the_topic() {
        let plan = plan_of(1, &HashMap::new(), &[(0, 9), (5, 5)], "stop");
        assert_eq!(plan.starts, Positions::from([(0, 0), (1, 5)]));
        assert_eq!(plan.record.len(), 3);
        assert_eq!(plan.record_positions, plan.starts);
        assert!(plan.stopped.is_empty() && plan.choices.is_empty());
    }

    #[test]
    fn a_known_topic_goes_on_where_it_stood() {
        let plan = plan_of(1, &recorded(1, &[(0, 7), (1, 5)]), &[(0, 9), (5, 5)], "stop");
        assert_eq!(plan.starts, Positions::from([(0, 7), (1, 5)]));
        assert!(plan.record.is_empty() && plan.stopped.is_empty());
    }

    #[test]
    fn a_partition_above_the_recorded_ones_is_new_and_recorded_at_zero() {
        let plan = plan_of(1, &recorded(1, &[(0, 7)]), &[(0, 9), (0, 3), (0, 0)], "stop");
        assert_eq!(plan.starts, Positions::from([(0, 7), (1, 0), (2, 0)]));
        assert_eq!(plan.record_positions, Positions::from([(1, 0), (2, 0)]));
    }

    #[test]
    fn a_recorded_partition_without_txn_is_lost_and_the_others_go_on() {
        let plan = plan_of(1, &recorded(1, &[(0, 7), (2, 1)]), &[(0, 9), (0, 9), (0, 9)], "stop");
        assert_eq!(plan.starts, Positions::from([(0, 7), (2, 1)]));
        assert_eq!(plan.stopped.len(), 1);
        assert_eq!(plan.stopped[0].reason, LostReason::NotRecorded);
        assert!(plan.record.is_empty());
    }

    #[test]
    fn a_known_topic_without_any_txn_is_lost_whole() {
        let plan = plan_of(1, &recorded(1, &[]), &[(0, 9), (0, 9)], "stop");
        assert_eq!(plan.stopped.len(), 2);
        assert!(plan.starts.is_empty() && plan.record.is_empty());
    }

    #[test]
    fn expired_and_cut_off_positions_stop_unless_the_operator_chose() {
        let known = recorded(1, &[(0, 3), (1, 50)]);
        let logs = [(5, 9), (0, 9)];
        let plan = plan_of(1, &known, &logs, "stop");
        let reasons: Vec<_> = plan.stopped.iter().map(|lost| lost.reason.clone()).collect();
        assert_eq!(reasons, [LostReason::Expired, LostReason::BeyondEnd]);
        let plan = plan_of(1, &known, &logs, "latest");
        assert_eq!(plan.starts, Positions::from([(0, 9), (1, 9)]));
        assert_eq!(plan.choices.len(), 2);
        assert_eq!(plan.choices[0]["oldOffset"], 3);
        assert_eq!(plan.choices[0]["newOffset"], 9);
        assert_eq!(plan.record_positions, plan.starts);
    }

    #[test]
    fn a_topic_made_again_is_lost_until_chosen_then_recorded_whole() {
        let known = recorded(1, &[(0, 3), (1, 4)]);
        let plan = plan_of(2, &known, &[(0, 100), (0, 100)], "stop");
        assert_eq!(plan.stopped.len(), 2);
        assert!(plan.record.is_empty());
        let plan = plan_of(2, &known, &[(0, 100), (0, 100), (0, 1)], "earliest");
        assert_eq!(plan.starts, Positions::from([(0, 0), (1, 0), (2, 0)]));
        assert_eq!(plan.record.len(), 4);
        assert_eq!(plan.record[3].version, 2);
        // An offset that only one partition holds takes over nothing.
        let plan = plan_of(2, &known, &[(0, 100), (0, 10)], "offset=50");
        assert_eq!(plan.stopped.len(), 1);
        assert!(plan.record.is_empty() && plan.starts.is_empty());
    }
}

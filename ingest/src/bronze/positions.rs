//! Where a table stands in a topic: the names under which positions are recorded in its log, and reading them back.
//!
//! One app id a partition, version = the consumer's next offset; and one app id a topic, by which a known name with another id is noticed.

use std::collections::{BTreeMap, HashMap};

use ticklake_sql::commit::Txn;
use ticklake_sql::{TableName, app_ids};

use super::topic::TopicIdentity;
use super::topic_id::TopicId;

/// Partition -> next offset.
pub type Positions = BTreeMap<i32, i64>;

/// App id of one partition's position in `table`.
pub fn app_id(table: &TableName, topic: &TopicIdentity, partition: i32) -> String {
    format!("{}{partition}", prefix(table, &topic.cluster_id, &topic.id))
}

fn prefix(table: &TableName, cluster_id: &str, topic_id: &TopicId) -> String {
    format!("{}{cluster_id}/{topic_id}/", app_ids::kafka_prefix(table))
}

fn name_prefix(table: &TableName, cluster_id: &str, name: &str) -> String {
    format!("{}{cluster_id}/{name}/", app_ids::kafka_topic_prefix(table))
}

/// Txns that record `positions`.
pub fn txns(table: &TableName, topic: &TopicIdentity, positions: &Positions) -> Vec<Txn> {
    positions
        .iter()
        .map(|(partition, offset)| Txn {
            app_id: app_id(table, topic, *partition),
            version: *offset,
        })
        .collect()
}

/// Txn that records `topic` as the `generation`th topic of its name.
pub fn topic_txn(table: &TableName, topic: &TopicIdentity, generation: i64) -> Txn {
    Txn {
        app_id: format!("{}{}", name_prefix(table, &topic.cluster_id, &topic.name), topic.id),
        version: generation,
    }
}

/// The recorded positions of `topic_id`.
pub fn of_topic(table: &TableName, recorded: &HashMap<String, i64>, cluster_id: &str, topic_id: &TopicId) -> Positions {
    let prefix = prefix(table, cluster_id, topic_id);
    recorded
        .iter()
        .filter_map(|(app_id, offset)| Some((app_id.strip_prefix(&prefix)?.parse().ok()?, *offset)))
        .collect()
}

/// The newest topic recorded under `name`, and its generation.
pub fn newest_topic(
    table: &TableName,
    recorded: &HashMap<String, i64>,
    cluster_id: &str,
    name: &str,
) -> Option<(TopicId, i64)> {
    let prefix = name_prefix(table, cluster_id, name);
    recorded
        .iter()
        .filter_map(|(app_id, generation)| Some((TopicId::parse(app_id.strip_prefix(&prefix)?)?, *generation)))
        .max_by_key(|(_, generation)| *generation)
}

/// What a table's positions say about a commit whose answer was lost or that met another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Still where the commit would have started from: nothing landed.
    Not,
    /// Exactly where the commit leads to: it landed.
    ToTarget,
    /// Anywhere else: another writer was here.
    Elsewhere,
}

/// Compares `now` with a commit that leads from `from` to `to`; a partition that the table does not know stands nowhere.
pub fn moved(now: &Positions, from: &Positions, to: &Positions) -> Moved {
    if to.iter().all(|(partition, offset)| now.get(partition) == Some(offset)) {
        Moved::ToTarget
    } else if to.keys().all(|partition| now.get(partition) == from.get(partition)) {
        Moved::Not
    } else {
        Moved::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: i64) -> TopicIdentity {
        TopicIdentity {
            cluster_id: "c".to_owned(),
            name: "trades".to_owned(),
            id: TopicId::from_bits(id, 0),
        }
    }

    #[test]
    fn positions_come_back_for_their_topic_alone() {
        let table = TableName::bronze_trades();
        let mut recorded = HashMap::new();
        for (id, positions) in [(1, [(0, 10), (11, 20)]), (2, [(0, 30), (1, 40)])] {
            for txn in txns(&table, &topic(id), &positions.into_iter().collect()) {
                recorded.insert(txn.app_id, txn.version);
            }
            let txn = topic_txn(&table, &topic(id), id);
            recorded.insert(txn.app_id, txn.version);
        }
        let found = of_topic(&table, &recorded, "c", &topic(1).id);
        assert_eq!(found, Positions::from([(0, 10), (11, 20)]));
        assert_eq!(of_topic(&table, &recorded, "other", &topic(1).id), Positions::new());
        let side = TableName::bronze_dead_letters();
        assert_eq!(of_topic(&side, &recorded, "c", &topic(1).id), Positions::new());
        assert_eq!(newest_topic(&table, &recorded, "c", "trades"), Some((topic(2).id, 2)));
        assert_eq!(newest_topic(&table, &recorded, "c", "trade"), None);
    }

    #[test]
    fn a_commit_has_landed_only_where_every_partition_reached_its_target() {
        let check = |now: &[(i32, i64)], expected| {
            let of = |pairs: &[(i32, i64)]| pairs.iter().copied().collect::<Positions>();
            let (from, to) = (of(&[(0, 5), (1, 5)]), of(&[(0, 9), (1, 7)]));
            assert_eq!(moved(&of(now), &from, &to), expected, "{now:?}");
        };
        check(&[(0, 5), (1, 5)], Moved::Not);
        check(&[(0, 9), (1, 7)], Moved::ToTarget);
        check(&[(0, 9), (1, 7), (2, 100)], Moved::ToTarget);
        check(&[(0, 9), (1, 5)], Moved::Elsewhere);
        check(&[(0, 6), (1, 5)], Moved::Elsewhere);
        check(&[(0, 5)], Moved::Elsewhere);
        check(&[], Moved::Elsewhere);
    }
}

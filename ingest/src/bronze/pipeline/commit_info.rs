//! What a commit of ours says about itself, beside its actions.

use serde_json::{Map, Value, json};
use ticklake_sql::commit::{Commit, Txn};

use super::super::topic::TopicIdentity;
use super::message::WrittenFlush;

/// A commit of rows. `txns` lead to the flush's target.
pub fn of_rows(topic: &TopicIdentity, txns: Vec<Txn>, rows: u64) -> Commit {
    let mut info = about(topic);
    info.insert("ticklake.rows".to_owned(), json!(rows));
    Commit {
        operation: "WRITE".to_owned(),
        info,
        txns,
        ..Commit::default()
    }
}

pub fn of_flush(written: &WrittenFlush, txns: Vec<Txn>) -> Commit {
    let mut commit = of_rows(&written.flush.topic, txns, written.rows);
    commit.adds = written.adds.clone();
    commit
}

/// A commit of positions alone; `choices` are the operator's about lost positions.
pub fn of_start(topic: &TopicIdentity, txns: Vec<Txn>, choices: &[Value]) -> Commit {
    let mut info = about(topic);
    if !choices.is_empty() {
        info.insert("ticklake.lostPositions".to_owned(), Value::from(choices.to_vec()));
    }
    // Only an operator's choice may lead back, where a log was cut off.
    Commit {
        operation: "WRITE".to_owned(),
        info,
        txns,
        allow_backwards: !choices.is_empty(),
        ..Commit::default()
    }
}

fn about(topic: &TopicIdentity) -> Map<String, Value> {
    let mut info = Map::new();
    info.insert("ticklake.topic".to_owned(), json!(topic.name));
    info.insert("ticklake.topicId".to_owned(), json!(topic.id.to_string()));
    info
}

//! A recorded position that cannot be read from any more: why, and where the operator's choice leads.

use std::fmt;

use serde_json::{Value, json};

use super::options::OnLostPosition;
use super::topic::LogRange;
use super::topic_id::TopicId;

/// Why a partition cannot go on from where the table stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostReason {
    /// The log starts above the position: records expired unread.
    Expired,
    /// The log ends below the position: it was cut off, or refilled under the same id.
    BeyondEnd,
    /// The topic was deleted and made again under its name.
    MadeAgain { old: TopicId, new: TopicId },
    /// The table knows the topic and higher partitions, but holds no position for this one.
    NotRecorded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostPosition {
    pub partition: i32,
    pub old_offset: Option<i64>,
    pub log: LogRange,
    pub reason: LostReason,
}

impl LostPosition {
    /// The offset to go on from; `None` stops the partition. An offset that the log does not hold stops it too.
    pub fn resolve(&self, choice: OnLostPosition) -> Option<i64> {
        match choice {
            OnLostPosition::Stop => None,
            OnLostPosition::Earliest => Some(self.log.start),
            OnLostPosition::Latest => Some(self.log.end),
            OnLostPosition::Offset(offset) => (self.log.start..=self.log.end).contains(&offset).then_some(offset),
        }
    }

    /// What stands in the info of the commit that takes the choice over.
    pub fn commit_info(&self, choice: OnLostPosition, new_offset: i64) -> Value {
        json!({
            "partition": self.partition,
            "reason": self.to_string(),
            "choice": choice.to_string(),
            "oldOffset": self.old_offset,
            "newOffset": new_offset,
        })
    }
}

impl fmt::Display for LostPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}: ", self.partition)?;
        let old = self.old_offset.unwrap_or_default();
        let LogRange { start, end } = self.log;
        match &self.reason {
            LostReason::Expired => write!(
                f,
                "offset {old} has expired, the log starts at {start}: {} offsets were never read",
                start - old
            )?,
            LostReason::BeyondEnd => write!(
                f,
                "offset {old} is past the end of the log at {end}: the log was cut off"
            )?,
            LostReason::MadeAgain { old, new } => write!(
                f,
                "the topic was deleted and made again: its id was {old} and is {new}, so recorded offsets mean nothing in it"
            )?,
            LostReason::NotRecorded => f.write_str("the table's log holds no position for it")?,
        }
        f.write_str("; choose with --on-lost-position earliest, latest or offset=N")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(reason: LostReason) -> LostPosition {
        LostPosition {
            partition: 3,
            old_offset: Some(40),
            log: LogRange { start: 100, end: 200 },
            reason,
        }
    }

    #[test]
    fn the_choice_decides_and_never_leaves_the_log() {
        let lost = lost(LostReason::Expired);
        for (choice, expected) in [
            ("stop", None),
            ("earliest", Some(100)),
            ("latest", Some(200)),
            ("offset=150", Some(150)),
            ("offset=100", Some(100)),
            ("offset=200", Some(200)),
            ("offset=99", None),
            ("offset=201", None),
        ] {
            assert_eq!(lost.resolve(choice.parse().unwrap()), expected, "{choice}");
        }
    }

    #[test]
    fn the_message_names_partition_offsets_and_the_way_out() {
        let text = lost(LostReason::Expired).to_string();
        for part in ["partition 3", "40", "100", "60 offsets", "--on-lost-position"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

//! Settings of Kafka -> bronze, and the text forms that flags and configuration use.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::kafka::KafkaOptions;

/// What to do with a partition whose recorded position cannot be read from any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLostPosition {
    /// Leave the partition alone and say so; the others go on.
    #[default]
    Stop,
    /// Go on from the start of what the log still holds.
    Earliest,
    /// Go on from the end of the log: what lies between is skipped.
    Latest,
    /// Go on from this offset.
    Offset(i64),
}

impl FromStr for OnLostPosition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "stop" => return Ok(Self::Stop),
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let offset = text.strip_prefix("offset=").and_then(|n| n.parse::<i64>().ok());
        match offset {
            Some(offset) if offset >= 0 => Ok(Self::Offset(offset)),
            _ => Err(Error::Invalid(format!(
                "on_lost_position is `{text}`; use stop, earliest, latest or offset=N"
            ))),
        }
    }
}

impl std::fmt::Display for OnLostPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stop => f.write_str("stop"),
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "offset={offset}"),
        }
    }
}

/// Settings of [`crate::bronze::run`].
#[derive(Debug, Clone)]
pub struct BronzeOptions {
    pub kafka: KafkaOptions,
    pub topic: String,
    /// Consumer group. Its offsets are advice for lag tools, never read.
    pub group: String,
    /// Set: this is one of several instances, and the group deals the partitions out (static membership).
    /// Not set: this is the only instance, and takes every partition.
    pub instance_id: Option<String>,
    /// A commit happens at the first of these three.
    pub commit_rows: u64,
    /// Bytes of Kafka values.
    pub commit_bytes: u64,
    pub commit_age: Duration,
    pub on_lost_position: OnLostPosition,
    /// Read to the end offsets seen at the start, then return.
    pub until_latest: bool,
    /// How often the topic's id, partitions and end offsets are looked up.
    pub topic_check_interval: Duration,
    /// How long the first contact with the broker may take.
    pub connect_timeout: Duration,
    /// How long a shutdown waits for the last commit; what is not committed then is read again by the next start.
    pub drain_timeout: Duration,
}

impl Default for BronzeOptions {
    fn default() -> Self {
        Self {
            kafka: KafkaOptions::default(),
            topic: "trades".to_owned(),
            group: "ticklake-bronze".to_owned(),
            instance_id: None,
            commit_rows: 1_000_000,
            commit_bytes: 256 << 20,
            commit_age: Duration::from_secs(1),
            on_lost_position: OnLostPosition::Stop,
            until_latest: false,
            topic_check_interval: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl BronzeOptions {
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = if self.topic.is_empty() {
            Some("topic is empty; name the Kafka topic that holds the trades")
        } else if self.group.is_empty() {
            Some("group is empty; name a consumer group")
        } else if self.instance_id.as_ref().is_some_and(String::is_empty) {
            Some("instance_id is empty; give each instance a name of its own, or leave it out for a single instance")
        } else if self.commit_rows == 0 || self.commit_bytes == 0 || self.commit_age.is_zero() {
            Some("commit_rows, commit_bytes and commit_age must be above zero")
        } else {
            None
        };
        match wrong {
            Some(message) => Err(Error::Invalid(message.to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_position_choice_reads_back_what_it_prints() {
        for text in ["stop", "earliest", "latest", "offset=0", "offset=12345"] {
            assert_eq!(text.parse::<OnLostPosition>().unwrap().to_string(), text);
        }
        for text in ["", "Stop", "offset", "offset=", "offset=-1", "offset=1x", "12"] {
            let error = text.parse::<OnLostPosition>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid, "{text}");
        }
    }
}

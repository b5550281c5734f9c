//! Which offsets of a partition hold a record that a read_committed consumer is given: what tells a hole from a loss.
//!
//! Reads keys and values only because Kafka sends them; nothing is kept of them. Blocks.

use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::kafka::KafkaOptions;

const FIXED: [(&str, &str); 6] = [
    // Never joined: the partition is assigned by hand.
    ("group.id", "ticklake-verify"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];
/// Small reads: a question is about a few offsets.
const DEFAULTS: [(&str, &str); 2] = [
    ("fetch.message.max.bytes", "1048576"),
    ("queued.max.messages.kbytes", "16384"),
];
/// Longest wait without an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A gap between two questions is read over where it is shorter than this; a seek costs a round trip and a new fetch.
const READ_OVER: i64 = 10_000;

/// The offsets among `ranges` (in order, inside the log) that hold a record, in runs.
pub fn records_in(kafka: &KafkaOptions, topic: &str, partition: i32, ranges: &[Range<i64>]) -> Result<Vec<Range<i64>>> {
    let failed = |source: KafkaError| kafka.error("reading a partition again", source);
    let consumer: BaseConsumer = kafka.client_config(&DEFAULTS, &FIXED)?.create().map_err(failed)?;
    let mut records: Vec<Range<i64>> = Vec::new();
    let mut ranges = ranges.iter().filter(|range| !range.is_empty()).peekable();
    let mut next_offset: Option<i64> = None;
    while let Some(range) = ranges.peek() {
        if next_offset.is_none_or(|at| range.start > at + READ_OVER) {
            let mut assignment = TopicPartitionList::new();
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(range.start))
                .map_err(failed)?;
            consumer.assign(&assignment).map_err(failed)?;
        }
        match delivered(&consumer, kafka, topic, partition)? {
            Some(offset) => {
                next_offset = Some(offset + 1);
                while ranges.next_if(|range| range.end <= offset).is_some() {}
                if ranges.peek().is_some_and(|range| range.contains(&offset)) {
                    note(&mut records, offset);
                    ranges.next_if(|range| range.end == offset + 1);
                }
            }
            // The end of the log: nothing comes after.
            None => break,
        }
    }
    Ok(records)
}

fn note(records: &mut Vec<Range<i64>>, offset: i64) {
    match records.last_mut() {
        Some(last) if last.end == offset => last.end += 1,
        _ => records.push(offset..offset + 1),
    }
}

/// The offset of the next record; `None` at the end of the log.
fn delivered(consumer: &BaseConsumer, kafka: &KafkaOptions, topic: &str, partition: i32) -> Result<Option<i64>> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return Ok(Some(message.offset())),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(source @ KafkaError::MessageConsumption(_)))
                if source.rdkafka_error_code().is_some_and(is_passing) => {}
            Some(Err(source)) => return Err(kafka.error("reading a partition again", source)),
            None => {}
        }
    }
    Err(Error::Internal(format!(
        "partition {partition} of {topic} gave no record and no end within {} s",
        PATIENCE.as_secs()
    )))
}

/// librdkafka goes on by itself after these.
fn is_passing(code: rdkafka::error::RDKafkaErrorCode) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut
    )
}
